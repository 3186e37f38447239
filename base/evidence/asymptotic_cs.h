// Asymptotic confidence sequence for means without a bound: the Gaussian mixture.
//
// Half-width sd sqrt(2 (n rho^2 + 1)/(n rho)^2 ln(sqrt(n rho^2 + 1)/alpha)) with
// rho = sqrt((-2 ln a + ln(1 - 2 ln a))/N*) (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2021;
// variants of GrowthBook's gbstats, vectors/PARAMETERS.md). One sample: its mean. Two samples:
// b - a (absolute) or (b - a)/a (relative, delta method). One-sided: 2 alpha in rho and
// ln(1 + sqrt(n rho^2 + 1)/(2 alpha)).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"

namespace trimtab::evidence {

enum class Side { kTwo, kLower, kUpper };
enum class Effect { kMean, kAbsolute, kRelative };

struct AsymptoticParams {
  double alpha = 0.05;
  double n_opt = 5000.0;  // N*: sample size at which the bound is tightest
  Side side = Side::kTwo;
};

// Count, sum and sum of squares of one arm. A proportion has no sum of squares: its variance is
// m(1 - m); else the sample variance with n - 1.
struct Moments {
  double n = 0.0;
  double sum = 0.0;
  std::optional<double> sum_squares;
};

struct AsymptoticResult {
  double estimate = 0.0;
  double se = 0.0;
  std::optional<double> lower, upper;  // absent: no such bound (one-sided)
  double log_e = 0.0;                  // evidence against zero; -inf: on the other side of it
  double p_value = 1.0;                // min(1, exp(-log_e))
};

// kInvalid on NaN, too few values, values that do not vary (gbstats refuses them, too) or a
// parameter out of range.
[[nodiscard]] Result<AsymptoticResult> asymptotic_cs(std::span<const double> x,
                                                     const AsymptoticParams& params);
[[nodiscard]] Result<AsymptoticResult> asymptotic_cs(const Moments& a, const Moments& b,
                                                     Effect effect, const AsymptoticParams& params);
// From an estimate whose variance (se^2) over n observations is known: what the two above end in.
[[nodiscard]] Result<AsymptoticResult> asymptotic_bounds(double estimate, double variance, double n,
                                                         const AsymptoticParams& params);

}  // namespace trimtab::evidence
