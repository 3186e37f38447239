// A trial's frozen plan: config::PlanSettings with overrides from whoever registered the candidate.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "config/shadow_settings.h"

namespace trimtab::shadow {

using Plan = config::PlanSettings;

// kInvalid (REST: 422) naming the key, what is wrong and what is legal.
[[nodiscard]] Status validate_plan(const Plan& plan);
[[nodiscard]] nlohmann::json to_json(const Plan& plan);
// `overrides` holds any subset of to_json's keys; unknown keys are errors. The result is valid.
// Durations are integers in ms under the same names as the fields.
[[nodiscard]] Result<Plan> parse_plan(const Plan& defaults, const nlohmann::json& overrides);

// The experiment's config hash: alpha, margin, N*, W, strata, score, seed and all the rest, in
// canonical order. A different hash is a different experiment.
[[nodiscard]] std::string config_hash(const Plan& plan);

// The share of the candidate at canary step k and in the A/B. Every step but the last is a canary
// step; the A/B runs on the last one (a ladder of one step has that step as canary, too).
[[nodiscard]] int canary_steps(const Plan& plan);
[[nodiscard]] double ladder_share(const Plan& plan, int step);

// What a trial takes from the lifetime error budget: the alpha of shipping wrongly.
[[nodiscard]] double trial_alpha(const Plan& plan);

}  // namespace trimtab::shadow
