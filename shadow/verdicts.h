// What the gates say, as values: the inputs of advance() (trial.h), the rows of the journal and
// the answer of GET promotions/{id}/evidence. Every verdict carries the numbers it was drawn from,
// so that `trimtab explain` can draw it again. A verdict that is absent, and every number that is
// missing, is never a pass. Plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::shadow {

struct PreflightVerdict {
  bool passed = false;
  std::string failure;  // named check, such as nan_weights (preflight.h); empty when passed
  std::string message;  // what to do about it
  bool operator==(const PreflightVerdict&) const = default;
};

struct OfflineVerdict {
  std::uint64_t old_pairs = 0, new_pairs = 0, golden_pairs = 0;
  double old_mean_d = 0.0, new_mean_d = 0.0;  // old: hold-out and golden set together
  bool harm = false;                          // betting evidence of harm on the hold-out
  bool passed = false;
  // harm_on_holdout | no_holdout | worse_on_holdout | no_new_pairs | no_gain_on_new, or empty
  std::string failure;
  std::string message;
  bool operator==(const OfflineVerdict&) const = default;
};

// One paired-betting test.
struct EvidenceRow {
  std::string metric;  // new | old | complaint | accuracy | error | ..
  std::uint64_t pairs = 0;
  double mean_d = 0.0;  // good direction is positive for every metric
  double log_e_non_inferior = 0.0, log_e_superior = 0.0, log_e_harm = 0.0;
  double log_threshold = 0.0, log_threshold_harm = 0.0;       // ln(1/alpha), ln(1/alpha_harm)
  bool non_inferior = false, superior = false, harm = false;  // crossed at some time
  double mean_lower = -1.0, mean_upper = 1.0;  // empirical-Bernstein sequence of the mean of D
  std::uint64_t adjusted = 0;  // pairs from which the units' past was taken off (CUPED)
  double slope = 0.0;          // by this share of it
  bool operator==(const EvidenceRow&) const = default;
};

struct ShadowVerdict {
  std::vector<EvidenceRow> strata;  // new, old
  bool advisory = false;            // no labels that count: latency, length, likelihood only
  std::uint64_t pairs = 0;          // scored and counted
  std::uint64_t missing = 0;        // drawn, but without a usable score
  bool ship = false;                // the plan's ship rule holds
  bool harm = false;
  std::string harm_on;       // stratum or advisory signal
  bool exhausted = false;    // pool or pair budget used up
  bool scorer_down = false;  // scoring calls fail: a hold, not a verdict
  std::string message;       // what is still missing
  bool operator==(const ShadowVerdict&) const = default;
};

struct SrmRow {
  std::uint64_t candidate = 0, control = 0;
  double lower = 0.0, upper = 1.0;  // of the candidate's share; .5 is right
  bool mismatch = false;
  bool operator==(const SrmRow&) const = default;
};

struct LiveVerdict {
  std::string experiment;
  std::string primary;                                     // the metric that must be superior
  std::vector<EvidenceRow> metrics;                        // primary first
  std::uint64_t closed_candidate = 0, closed_control = 0;  // units an arm
  std::uint64_t open_units = 0;
  std::uint64_t mismatched = 0;     // served adapter, arm or range not as the document said
  std::uint64_t unattested = 0;     // no adapter, arm or generation on the record
  std::uint64_t overflowed = 0;     // units not opened because max_open_units was reached
  std::uint64_t late_feedback = 0;  // after the unit closed: trains, decides nothing
  std::int64_t last_unit_ms = 0;    // event time of the last eligible request
  SrmRow exposed, labelled;
  std::string slo_breach;      // hard limit broken by the candidate's arm; empty: none
  bool mismatch_hold = false;  // more than a stray record was served by another adapter
  bool ship = false;
  bool harm = false;
  std::string harm_on;  // metric
  std::string message;  // what is still missing for ship
  bool operator==(const LiveVerdict&) const = default;
};

[[nodiscard]] nlohmann::json to_json(const PreflightVerdict& verdict);
[[nodiscard]] nlohmann::json to_json(const OfflineVerdict& verdict);
[[nodiscard]] nlohmann::json to_json(const EvidenceRow& row);
[[nodiscard]] nlohmann::json to_json(const ShadowVerdict& verdict);
[[nodiscard]] nlohmann::json to_json(const LiveVerdict& verdict);
[[nodiscard]] Result<PreflightVerdict> parse_preflight_verdict(const nlohmann::json& json);
[[nodiscard]] Result<OfflineVerdict> parse_offline_verdict(const nlohmann::json& json);
[[nodiscard]] Result<EvidenceRow> parse_evidence_row(const nlohmann::json& json);
[[nodiscard]] Result<ShadowVerdict> parse_shadow_verdict(const nlohmann::json& json);
[[nodiscard]] Result<LiveVerdict> parse_live_verdict(const nlohmann::json& json);

}  // namespace trimtab::shadow
