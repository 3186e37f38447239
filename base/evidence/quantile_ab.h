// Do two samples have the same quantile? An always-valid p-value.
//
// Each arm's two-sided beta-binomial mixture measures how far a value x is from being the arm's
// quantile; the evidence against "some x is the quantile of both" is the least sum over x.
// (Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and
// best-arm identification", Bernoulli 2022; confseq's QuantileABTest.) O(n log n).
#pragma once

#include <span>

#include "base/result.h"

namespace trimtab::evidence {

struct QuantileAbParams {
  double quantile = 0.5;  // (0, 1)
  double t_opt = 100.0;   // observations at which the bound is tightest
  double alpha_opt = 0.05;
};

// kInvalid on an empty sample, NaN or a parameter out of range.
[[nodiscard]] Result<double> quantile_ab_p_value(std::span<const double> a,
                                                 std::span<const double> b,
                                                 const QuantileAbParams& params);

}  // namespace trimtab::evidence
