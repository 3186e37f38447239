#include "base/evidence/quantile_ab.h"

#include <algorithm>
#include <boost/math/tools/minima.hpp>
#include <cmath>
#include <vector>

#include "base/evidence/mixtures.h"

namespace trimtab::evidence {
namespace {

// One sample and its evidence G(x) that x is not the quantile: a valley with a flat floor.
class Arm {
 public:
  Arm(std::span<const double> values, double quantile, const Mixture& mixture)
      : sorted_(values.begin(), values.end()), quantile_(quantile), mixture_(mixture) {
    std::sort(sorted_.begin(), sorted_.end());
    const auto evidence = [this](double share) { return at_share(share); };
    floor_share_ = boost::math::tools::brent_find_minima(evidence, 0.0, 1.0, 20).first;
    const double n = static_cast<double>(sorted_.size());
    floor_begin_ = order_statistic(std::ceil(floor_share_ * n));
    floor_end_ = order_statistic(std::floor(floor_share_ * n) + 1.0);
  }
  [[nodiscard]] double evidence(double x) const {
    if (x < floor_begin_) return at_share(count_up_to(x));
    if (x > floor_end_) return at_share(count_below(x));
    return at_share(floor_share_);
  }
  [[nodiscard]] double floor_begin() const { return floor_begin_; }
  [[nodiscard]] double floor_end() const { return floor_end_; }
  [[nodiscard]] const std::vector<double>& sorted() const { return sorted_; }

 private:
  [[nodiscard]] double at_share(double share) const {
    const double n = static_cast<double>(sorted_.size());
    return mixture_.log_e((share - quantile_) * n, quantile_ * (1.0 - quantile_) * n);
  }
  [[nodiscard]] double order_statistic(double index) const {  // 1-based
    const double last = static_cast<double>(sorted_.size());
    return sorted_[static_cast<std::size_t>(std::clamp(index, 1.0, last)) - 1];
  }
  [[nodiscard]] double count_up_to(double x) const {
    const auto end = std::upper_bound(sorted_.begin(), sorted_.end(), x);
    return static_cast<double>(end - sorted_.begin()) / static_cast<double>(sorted_.size());
  }
  [[nodiscard]] double count_below(double x) const {
    const auto end = std::lower_bound(sorted_.begin(), sorted_.end(), x);
    return static_cast<double>(end - sorted_.begin()) / static_cast<double>(sorted_.size());
  }

  std::vector<double> sorted_;
  double quantile_;
  const Mixture& mixture_;
  double floor_share_ = 0.0, floor_begin_ = 0.0, floor_end_ = 0.0;
};

// The least G_left(x) + G_right(x). Between the floors G_left rises and G_right falls, and the sum
// is least just at a value of the right arm, or at one of the two ends.
double least_evidence(const Arm& left, const Arm& right) {
  const auto sum = [&](double x) { return left.evidence(x) + right.evidence(x); };
  double least = std::min(sum(left.floor_end()), sum(right.floor_begin()));
  for (const double x : right.sorted()) {
    if (x < left.floor_end()) continue;
    if (x > right.floor_begin()) break;
    least = std::min(least, sum(x));
  }
  return least;
}

}  // namespace

Result<double> quantile_ab_p_value(std::span<const double> a, std::span<const double> b,
                                   const QuantileAbParams& params) {
  const double p = params.quantile;
  if (!(p > 0.0 && p < 1.0)) return fail(Code::kInvalid, "quantile: must be in (0, 1)");
  if (a.empty() || b.empty()) return fail(Code::kInvalid, "quantile_ab: an arm has no values");
  const auto finite = [](double x) { return std::isfinite(x); };
  if (!std::all_of(a.begin(), a.end(), finite) || !std::all_of(b.begin(), b.end(), finite)) {
    return fail(Code::kInvalid, "quantile_ab: values must be finite");
  }
  const Tuning tuning{
      .v_opt = params.t_opt * p * (1.0 - p), .alpha_opt = params.alpha_opt, .two_sided = true};
  TRIMTAB_TRY(const Mixture mixture, Mixture::beta_binomial(tuning, p, 1.0 - p));
  const Arm arm_a(a, p, mixture), arm_b(b, p, mixture);
  const double log_e = arm_a.floor_end() <= arm_b.floor_end() ? least_evidence(arm_a, arm_b)
                                                              : least_evidence(arm_b, arm_a);
  return std::min(1.0, std::exp(-log_e));
}

}  // namespace trimtab::evidence
