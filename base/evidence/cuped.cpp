#include "base/evidence/cuped.h"

#include <algorithm>
#include <cmath>

namespace trimtab::evidence {
namespace {

double slope_of(const CupedArm& a, const CupedArm& b, Slope slope) {
  double xx = a.xx() + b.xx();
  double xy = a.xy() + b.xy();
  if (slope == Slope::kJoint) {  // around the common means
    const double weight = a.n() * b.n() / (a.n() + b.n());
    const double off_x = b.mean_x() - a.mean_x();
    xx += weight * off_x * off_x;
    xy += weight * off_x * (b.mean_y() - a.mean_y());
  }
  return xx > 0.0 ? xy / xx : 0.0;
}

// Of y - theta x: sample variance over n.
double variance_of_mean(const CupedArm& arm, double theta) {
  const double squares = arm.yy() - 2.0 * theta * arm.xy() + theta * theta * arm.xx();
  return std::max(0.0, squares) / (arm.n() - 1.0) / arm.n();
}

}  // namespace

Status CupedArm::add(double y, double x) {
  if (!std::isfinite(y) || !std::isfinite(x)) {
    return fail(Code::kInvalid, "cuped: a value is not finite");
  }
  n_ += 1.0;
  const double off_y = y - mean_y_, off_x = x - mean_x_;
  mean_y_ += off_y / n_;
  mean_x_ += off_x / n_;
  yy_ += off_y * (y - mean_y_);
  xx_ += off_x * (x - mean_x_);
  xy_ += off_x * (y - mean_y_);
  return {};
}

Result<CupedResult> cuped(const CupedArm& a, const CupedArm& b, Effect effect, Slope slope,
                          const AsymptoticParams& params) {
  if (effect == Effect::kMean) return fail(Code::kInvalid, "cuped: compares two arms");
  if (a.n() < 2.0 || b.n() < 2.0) {
    return fail(Code::kInvalid, "cuped: an arm needs at least two units");
  }
  CupedResult found;
  found.theta = slope_of(a, b, slope);
  const bool relative = effect == Effect::kRelative;
  if (relative && a.mean_y() == 0.0) {
    return fail(Code::kInvalid, "cuped: no relative effect against a mean of 0");
  }
  const double divisor = relative ? a.mean_y() : 1.0;
  const auto difference = [&](double theta) {
    return (b.mean_y() - a.mean_y()) - theta * (b.mean_x() - a.mean_x());
  };
  // Of the estimate; relative: by the delta method.
  const auto variance = [&](double theta) {
    const double ratio = relative ? 1.0 + difference(theta) / a.mean_y() : 1.0;
    return (variance_of_mean(b, theta) + ratio * ratio * variance_of_mean(a, theta)) /
           (divisor * divisor);
  };
  TRIMTAB_TRY(found.adjusted,
              asymptotic_bounds(difference(found.theta) / divisor, variance(found.theta),
                                a.n() + b.n(), params));
  found.plain_estimate = difference(0.0) / divisor;
  found.plain_se = std::sqrt(variance(0.0));
  if (found.plain_se > 0.0) {
    found.variance_reduction = 1.0 - variance(found.theta) / variance(0.0);
  }
  return found;
}

}  // namespace trimtab::evidence
