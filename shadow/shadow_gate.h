// The shadow gate: pairs in, verdict out, at any time (STATISTICS.md section 7).
//
// Per stratum one paired-betting test of D = candidate - champion. Ship rule, `ship: improve`:
// superior on `new` and non-inferior on `old` at margin; `ship: non_inferior`: non-inferior on
// both. Harm on either stratum (alpha_harm split over the two) rejects. An `old` stratum without
// any record cannot pass: a target without a past has no old (see no_past). Without labels that
// count the gate is advisory: no harm in N likelihood, length and latency pairs.
// One thread; bounded memory; deterministic.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/evidence/empirical_bernstein_cs.h"
#include "base/evidence/paired_betting.h"
#include "base/result.h"
#include "shadow/plan.h"
#include "shadow/pools.h"
#include "shadow/scorer.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

// D of one scored record. Absent when a score it needs is missing or NaN.
// match: short known-good texts; likelihood: exp(mean_logprob), difference; never a clipped
// log-probability; judge: -1, 0 or 1; a text metric: difference of the two, each in [0, 1].
[[nodiscard]] std::optional<double> pair_difference(const ScoreResult& result, const Plan& plan);

// One stream of D with its test, its running-mean sequence and its counts.
//
// CUPED (params.reach 2): where what both units did before is known, the bet is on
// D - slope (x_a - x_b), the slope in [0, 1] of D on that difference over the pairs *before* this
// one. Arms are drawn by hash, so the difference is 0 on average whatever the past was, the mean
// bet on is D's, and the error rates stay; the noise that the past explains is gone.
class PairedStream {
 public:
  PairedStream(std::string metric, const evidence::PairedBettingParams& params);
  // NaN and values outside [-1, 1] are counted as missing and change nothing else. `before`: the
  // same difference of what the units did before, in [-1, 1]; absent: not known of both.
  void add(std::optional<double> d, std::optional<double> before = std::nullopt);
  [[nodiscard]] EvidenceRow row() const;
  [[nodiscard]] const std::string& metric() const { return metric_; }
  [[nodiscard]] std::uint64_t pairs() const { return betting_.n(); }
  [[nodiscard]] std::uint64_t missing() const { return missing_; }
  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] Status restore(const nlohmann::json& saved);

 private:
  std::string metric_;
  evidence::PairedBetting betting_;
  [[nodiscard]] double slope() const;

  evidence::EmpiricalBernstein mean_;
  std::uint64_t missing_ = 0;
  std::uint64_t adjusted_ = 0;  // pairs with a past
  double sum_products_ = 0.0, sum_squares_ = 0.0;  // of D x before, and of before
};

class ShadowGate {
 public:
  // `advisory`: the pool has no label that counts, on `new`. `no_past`: the target never served
  // before the onset, so `old` is not asked for (the caller knows; journaled with the trial).
  ShadowGate(const Plan& plan, bool advisory, bool no_past);
  void add(Stratum stratum, const ScoreResult& result);
  // A journaled pair's D (replay.h). REQUIRES: the gate is not advisory.
  void add_difference(Stratum stratum, std::optional<double> d);
  // The pool is used up; no pair will follow.
  void set_exhausted(Stratum stratum);
  // How the next batch should be split: a decided stratum gets nothing more.
  struct Want {
    std::size_t fresh = 0, old = 0;
  };
  [[nodiscard]] Want next_batch() const;
  [[nodiscard]] ShadowVerdict verdict() const;
  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<ShadowGate> restore(const Plan& plan, const nlohmann::json& saved);

 private:
  Plan plan_;
  bool advisory_, no_past_;
  bool new_exhausted_ = false, old_exhausted_ = false;
  std::vector<PairedStream> streams_;  // new, old; advisory: likelihood, length, latency
};

}  // namespace trimtab::shadow
