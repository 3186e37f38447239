#include "base/evidence/asymptotic_cs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trimtab::evidence {
namespace {

struct Estimate {
  double value = 0.0;
  double n = 0.0;
  double variance = 0.0;  // of the estimate: se^2
};

double rho(double alpha, double n_opt) {
  const double log_alpha = std::log(alpha);
  return std::sqrt((-2.0 * log_alpha + std::log1p(-2.0 * log_alpha)) / n_opt);
}

Status check(const AsymptoticParams& params) {
  if (!(params.alpha > 0.0 && params.alpha < (params.side == Side::kTwo ? 1.0 : 0.5))) {
    return fail(Code::kInvalid, "alpha: a number in (0, 1), below .5 when one-sided");
  }
  if (!(params.n_opt > 0.0) || !std::isfinite(params.n_opt)) {
    return fail(Code::kInvalid, "n_opt: a positive number");
  }
  return {};
}

Result<AsymptoticResult> bounds(const Estimate& estimate, const AsymptoticParams& params) {
  // GrowthBook refuses this, too: four equal answers would be certainty.
  if (!(estimate.variance > 0.0)) {
    return fail(Code::kInvalid,
                "asymptotic_cs: the values do not vary, so their mean has no known error yet; wait "
                "for more");
  }
  const bool two = params.side == Side::kTwo;
  const double r = rho(two ? params.alpha : 2.0 * params.alpha, params.n_opt);
  const double n = estimate.n;
  const double grown = n * r * r + 1.0;
  const double sd = std::sqrt(estimate.variance * n);
  const double log_term = two ? std::log(std::sqrt(grown) / params.alpha)
                              : std::log1p(std::sqrt(grown) / (2.0 * params.alpha));
  const double half_width = sd * std::sqrt(2.0 * grown * log_term) / (n * r);
  AsymptoticResult found;
  found.estimate = estimate.value;
  found.se = std::sqrt(estimate.variance);
  if (params.side != Side::kUpper) found.lower = estimate.value - half_width;
  if (params.side != Side::kLower) found.upper = estimate.value + half_width;
  // The level at which the bound would just touch zero.
  const double z = estimate.value * n * r / sd;
  const double quadratic = z * z / (2.0 * grown);
  if (two) {
    found.log_e = quadratic - 0.5 * std::log(grown);
  } else {
    const bool favourable = params.side == Side::kLower ? z > 0.0 : z < 0.0;
    // 2 (e^q - 1)/sqrt(grown), in logarithms.
    found.log_e = favourable ? std::log(2.0) + quadratic + std::log(-std::expm1(-quadratic)) -
                                   0.5 * std::log(grown)
                             : -std::numeric_limits<double>::infinity();
  }
  found.p_value = std::min(1.0, std::exp(-found.log_e));
  return found;
}

struct Arm {
  double mean = 0.0, variance = 0.0, n = 0.0;
};

Result<Arm> arm_of(const Moments& moments) {
  if (!(moments.n >= 2.0) || !std::isfinite(moments.n) || !std::isfinite(moments.sum)) {
    return fail(Code::kInvalid, "asymptotic_cs: an arm needs at least two finite values");
  }
  Arm arm{moments.sum / moments.n, 0.0, moments.n};
  if (!moments.sum_squares) {
    if (!(arm.mean >= 0.0 && arm.mean <= 1.0)) {
      return fail(Code::kInvalid, "asymptotic_cs: a proportion's sum lies between 0 and n");
    }
    arm.variance = arm.mean * (1.0 - arm.mean);
    return arm;
  }
  const double squares = *moments.sum_squares - moments.sum * moments.sum / moments.n;
  if (!std::isfinite(squares) || squares < -1e-9 * std::abs(*moments.sum_squares)) {
    return fail(Code::kInvalid, "asymptotic_cs: sum of squares is too small for this sum");
  }
  arm.variance = std::max(0.0, squares) / (moments.n - 1.0);
  return arm;
}

}  // namespace

Result<AsymptoticResult> asymptotic_cs(std::span<const double> x, const AsymptoticParams& params) {
  TRIMTAB_CHECK_OK(check(params));
  if (x.size() < 2) return fail(Code::kInvalid, "asymptotic_cs: at least two values");
  const double n = static_cast<double>(x.size());
  double sum = 0.0;
  for (const double value : x) {
    if (!std::isfinite(value)) return fail(Code::kInvalid, "asymptotic_cs: a value is not finite");
    sum += value;
  }
  const double mean = sum / n;
  double squares = 0.0;
  for (const double value : x) squares += (value - mean) * (value - mean);
  return bounds({mean, n, squares / (n - 1.0) / n}, params);
}

Result<AsymptoticResult> asymptotic_cs(const Moments& a, const Moments& b, Effect effect,
                                       const AsymptoticParams& params) {
  TRIMTAB_CHECK_OK(check(params));
  TRIMTAB_TRY(const Arm arm_a, arm_of(a));
  if (effect == Effect::kMean) {
    return bounds({arm_a.mean, arm_a.n, arm_a.variance / arm_a.n}, params);
  }
  TRIMTAB_TRY(const Arm arm_b, arm_of(b));
  Estimate estimate;
  estimate.n = arm_a.n + arm_b.n;
  if (effect == Effect::kAbsolute) {
    estimate.value = arm_b.mean - arm_a.mean;
    estimate.variance = arm_a.variance / arm_a.n + arm_b.variance / arm_b.n;
  } else {
    if (arm_a.mean == 0.0) {
      return fail(Code::kInvalid, "asymptotic_cs: no relative effect against a mean of 0");
    }
    const double square = arm_a.mean * arm_a.mean;
    estimate.value = (arm_b.mean - arm_a.mean) / arm_a.mean;
    estimate.variance = arm_b.variance / (arm_b.n * square) +
                        arm_a.variance * arm_b.mean * arm_b.mean / (arm_a.n * square * square);
  }
  return bounds(estimate, params);
}

Result<AsymptoticResult> asymptotic_bounds(double estimate, double variance, double n,
                                           const AsymptoticParams& params) {
  TRIMTAB_CHECK_OK(check(params));
  if (!std::isfinite(estimate) || !(variance >= 0.0) || !std::isfinite(variance) || !(n > 0.0)) {
    return fail(Code::kInvalid, "asymptotic_cs: the estimate or its variance is not finite");
  }
  return bounds({estimate, n, variance}, params);
}

}  // namespace trimtab::evidence
