#include "base/evidence/mann_whitney_judge.h"

#include <algorithm>
#include <boost/math/special_functions/erf.hpp>
#include <cmath>
#include <numeric>
#include <vector>

namespace trimtab::evidence {
namespace {

// Standardized rank-sum of (x - shift) against y, continuity-corrected towards 0.
double standardized(std::span<const double> x, std::span<const double> y, double shift) {
  const double n = static_cast<double>(x.size()), m = static_cast<double>(y.size());
  std::vector<std::pair<double, bool>> pooled;
  pooled.reserve(x.size() + y.size());
  for (const double value : x) pooled.emplace_back(value - shift, true);
  for (const double value : y) pooled.emplace_back(value, false);
  std::sort(pooled.begin(), pooled.end());
  double rank_sum = 0.0, ties = 0.0;
  for (std::size_t begin = 0; begin < pooled.size();) {
    std::size_t end = begin;
    double of_x = 0.0;
    while (end < pooled.size() && pooled[end].first == pooled[begin].first) {
      of_x += pooled[end++].second ? 1.0 : 0.0;
    }
    const double count = static_cast<double>(end - begin);
    rank_sum += of_x * (static_cast<double>(begin + end + 1) / 2.0);
    ties += count * count * count - count;
    begin = end;
  }
  const double off = rank_sum - n * (n + 1.0) / 2.0 - n * m / 2.0;
  const double correction = off > 0.0 ? 0.5 : off < 0.0 ? -0.5 : 0.0;
  const double total = n + m;
  const double sigma2 = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
  return sigma2 > 0.0 ? (off - correction) / std::sqrt(sigma2) : 0.0;
}

// The shift at which the standardized rank-sum falls through z; an end of [low, high] when it
// does not within.
double root(std::span<const double> x, std::span<const double> y, double low, double high,
            double z) {
  if (standardized(x, y, low) <= z) return low;
  if (standardized(x, y, high) >= z) return high;
  for (int step = 0; step < 100; ++step) {
    const double middle = 0.5 * (low + high);
    if (middle == low || middle == high) break;
    (standardized(x, y, middle) > z ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double median_difference(std::span<const double> x, std::span<const double> y) {
  std::vector<double> differences;
  differences.reserve(x.size() * y.size());
  for (const double a : x) {
    for (const double b : y) differences.push_back(a - b);
  }
  const auto middle = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
  std::nth_element(differences.begin(), middle, differences.end());
  if (differences.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(differences.begin(), middle));
}

double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

}  // namespace

Result<Judgement> mann_whitney_judge(std::span<const double> experiment,
                                     std::span<const double> control, const JudgeParams& params) {
  if (!(params.confidence > 0.0 && params.confidence < 1.0) || !(params.tolerance >= 0.0)) {
    return fail(Code::kInvalid, "mann_whitney_judge: confidence in (0, 1), tolerance >= 0");
  }
  const auto finite = [](double x) { return std::isfinite(x); };
  if (!std::all_of(experiment.begin(), experiment.end(), finite) ||
      !std::all_of(control.begin(), control.end(), finite)) {
    return fail(Code::kInvalid, "mann_whitney_judge: values must be finite");
  }
  Judgement found;
  found.classification = "Nodata";
  if (experiment.empty() || control.empty()) return found;
  const auto [x_low, x_high] = std::minmax_element(experiment.begin(), experiment.end());
  const auto [y_low, y_high] = std::minmax_element(control.begin(), control.end());
  const double low = *x_low - *y_high, high = *x_high - *y_low;
  const double z = std::sqrt(2.0) * boost::math::erf_inv(params.confidence);
  found.estimate = median_difference(experiment, control);
  found.lower = low == high ? low : root(experiment, control, low, high, z);
  found.upper = low == high ? high : root(experiment, control, low, high, -z);
  const double critical = params.tolerance * std::fabs(found.estimate);
  const double effect = mean(experiment) / mean(control);
  found.classification = found.lower > critical && effect >= params.effect_high   ? "High"
                         : found.upper < -critical && effect <= params.effect_low ? "Low"
                                                                                  : "Pass";
  return found;
}

}  // namespace trimtab::evidence
