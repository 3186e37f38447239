// What each state needs done, and what it waits for, in words.
#include <fmt/format.h>
#include <algorithm>

#include "shadow/trial.h"

namespace trimtab::shadow {
namespace {

EffectRequest request(const Trial& trial, EffectKind kind, const std::string& suffix = "") {
  EffectRequest made;
  made.kind = kind;
  made.target = trial.target;
  made.trial = trial.id;
  made.key = trial.id + "/" + std::string(effect_name(kind)) + suffix;
  return made;
}

EffectRequest about_candidate(const Trial& trial, EffectKind kind) {
  EffectRequest made = request(trial, kind);
  made.adapter = trial.candidate;
  return made;
}

EffectRequest routing(const Trial& trial, State state, std::vector<Arm> arms,
                      std::string experiment) {
  std::string suffix = "/" + std::string(state_name(state));
  if (state == State::kCanary) suffix += "/" + std::to_string(trial.step);
  EffectRequest made = request(trial, EffectKind::kWriteRouting, suffix);
  made.arms = std::move(arms);
  made.experiment = std::move(experiment);
  made.reason = trial.id + " " + std::string(state_name(state));
  return made;
}

EffectRequest ramp(const Trial& trial, double share) {
  return routing(trial, trial.state,
                 ramp_arms(trial.champion, trial.candidate, share, trial.plan.mirror_ppm),
                 trial.id);
}

std::vector<EffectRequest> load(const Trial& trial) {
  return {about_candidate(trial, EffectKind::kLoadAdapter),
          about_candidate(trial, EffectKind::kWarmUp)};
}

std::vector<EffectRequest> shadow_effects(const Trial& trial, const Evidence& evidence) {
  std::vector<EffectRequest> wanted = {about_candidate(trial, EffectKind::kLoadAdapter)};
  const bool decided = evidence.shadow && (evidence.shadow->ship || evidence.shadow->harm ||
                                           evidence.shadow->exhausted);
  if (decided || trial.pause == Pause::kOperator) return wanted;
  const std::uint64_t done =
      evidence.shadow ? evidence.shadow->pairs + evidence.shadow->missing : 0;
  EffectRequest score = request(trial, EffectKind::kShadowScore, "/" + std::to_string(done));
  score.adapter = trial.candidate;
  score.batch = trial.plan.shadow_batch_pairs;
  wanted.push_back(std::move(score));
  return wanted;
}

std::string seconds(std::int64_t ms) {
  return fmt::format("{} s", (std::max<std::int64_t>(ms, 0) + 999) / 1000);
}

std::string live_wait(const Trial& trial, const std::optional<LiveVerdict>& live, int need_units,
                      std::int64_t left_ms) {
  const std::uint64_t units = live ? std::min(live->closed_candidate, live->closed_control) : 0;
  const std::uint64_t since = units - std::min(units, trial.units_at_entry);
  return fmt::format("{} of {} units an arm, {} of dwell left", since, need_units,
                     seconds(left_ms));
}

std::string open_wait(const Trial& trial, const Evidence& evidence, std::int64_t in_state_ms) {
  const Plan& plan = trial.plan;
  switch (trial.state) {
    case State::kRegistered: return "the files to be verified";
    case State::kOfflineEval: return "the offline screen";
    case State::kLoading: {
      std::string why = "every endpoint to load and answer under " + trial.candidate.name;
      for (const auto& [key, result] : evidence.effects) {
        if (!result.message.empty()) why += "; " + result.message;
      }
      return why;
    }
    case State::kShadow:
      return evidence.shadow ? evidence.shadow->message : "the first scored pairs";
    case State::kAwaitApproval: return "an approval: trimtab approve " + trial.id;
    case State::kCanary:
      return fmt::format("canary at {:g} %: {}", 100.0 * ladder_share(plan, trial.step),
                         live_wait(trial, evidence.live, plan.canary_min_units,
                                   plan.canary_min_dwell_ms - in_state_ms));
    case State::kAb:
      return fmt::format("A/B at {:g} %: {}; {} of dwell left", 100.0 * plan.ladder.back(),
                         evidence.live ? evidence.live->message : "the first closed units",
                         seconds(plan.ab_min_dwell_ms - in_state_ms));
    case State::kPromoting: return "every live router to acknowledge";
    case State::kBaking: {
      Trial from_zero = trial;
      from_zero.units_at_entry = 0;
      return "baking: " +
             live_wait(from_zero, evidence.bake, plan.bake_min_units, plan.bake_ms - in_state_ms);
    }
    case State::kRollingBack: return "routing to be back on " + trial.champion.label();
    default: return {};
  }
}

}  // namespace

std::vector<EffectRequest> wanted_effects(const Trial& trial, const Evidence& evidence) {
  switch (trial.state) {
    case State::kRegistered: return {about_candidate(trial, EffectKind::kVerifyFiles)};
    case State::kOfflineEval: return {about_candidate(trial, EffectKind::kOfflineScore)};
    case State::kLoading: return load(trial);
    case State::kShadow: return shadow_effects(trial, evidence);
    case State::kAwaitApproval: return {about_candidate(trial, EffectKind::kLoadAdapter)};
    case State::kCanary:
      return {about_candidate(trial, EffectKind::kLoadAdapter),
              ramp(trial, ladder_share(trial.plan, trial.step))};
    case State::kAb:
      return {about_candidate(trial, EffectKind::kLoadAdapter),
              ramp(trial, trial.plan.ladder.back())};
    case State::kPromoting:
    case State::kBaking:
      return {about_candidate(trial, EffectKind::kLoadAdapter),
              routing(trial, State::kPromoting,
                      baking_arms(trial.candidate, trial.champion, trial.plan.holdback),
                      bake_experiment(trial))};
    case State::kRollingBack:
      if (!trial.routed) return {};
      return {routing(trial, State::kRollingBack, champion_only_arms(trial.champion), "")};
    case State::kPromoted:
      return {routing(trial, State::kPromoted, champion_only_arms(trial.candidate), "")};
    default: return {about_candidate(trial, EffectKind::kUnloadAdapter)};
  }
}

std::string waits_for(const Trial& trial, const Evidence& evidence, std::int64_t now_ms) {
  if (is_end(trial.state)) {
    return fmt::format("{}: {}. {}", state_name(trial.state), reason_name(trial.end_reason),
                       next_step(trial.end_reason));
  }
  if (trial.pause != Pause::kNone) {
    return fmt::format("paused ({}): {}", pause_name(trial.pause), trial.pause_message);
  }
  return fmt::format("{} waits for {}", state_name(trial.state),
                     open_wait(trial, evidence, now_ms - trial.entered_ms));
}

}  // namespace trimtab::shadow
