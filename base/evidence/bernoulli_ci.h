// Confidence sequence for a Bernoulli probability, and sample-ratio mismatch (SRM) with it.
//
// The beta-binomial mixture of confseq (Howard, Ramdas, McAuliffe, Sekhon 2021, proposition 7,
// uniform_boundaries.h bernoulli_confidence_interval): the interval holds every p that the
// two-sided mixture supermartingale of S_t - p t, tuned to be tightest at t_opt, has not rejected
// at level alpha. Valid at all times at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/evidence/hedged_cs.h"
#include "base/result.h"

namespace trimtab::evidence {

struct BernoulliParams {
  double alpha = 0.05;
  double t_opt = 100.0;     // observations at which the bound is tightest
  double alpha_opt = 0.05;  // the level it is tightest for
};

// kInvalid when successes > n, n = 0 or a parameter is out of range.
[[nodiscard]] Result<Interval> bernoulli_ci(std::uint64_t successes, std::uint64_t n,
                                            const BernoulliParams& params);

struct Srm {
  std::uint64_t n = 0;
  double lower = 0.0, upper = 1.0;  // of the first arm's share (of each arm: see bounds)
  bool mismatch = false;
  std::vector<Interval> bounds;  // one an arm
};

// Counts of units an arm against the shares they should have (shares are normalized to sum 1).
// k = 2: one interval at alpha; k > 2: each arm against its share at alpha/k. Nothing counted yet
// is no mismatch. kInvalid when sizes differ, k < 2 or a share is not positive.
[[nodiscard]] Result<Srm> srm(std::span<const std::uint64_t> counts, std::span<const double> shares,
                              const BernoulliParams& params);

}  // namespace trimtab::evidence
