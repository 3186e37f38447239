// CUPED: a difference of two means with less noise, from what was known of each unit before it was
// in the experiment (Deng, Xu, Kohavi, Walker 2013).
//
// A unit has a value y and the same measure x from before. With one slope theta for both arms
//     y' = y - theta (x - E[x]),   mean(y'_b) - mean(y'_a) = (y_b - y_a) - theta (x_b - x_a)
// estimates the same effect, for arms that are drawn at random do not differ in x on average; its
// variance is 1 - r^2 of the plain one, r the correlation of x and y.
//     kJoint   theta = cov(x, y) / var(x) over both arms together (GrowthBook's gbstats)
//     kWithin  the same of deviations from each arm's own means: the estimate is the coefficient of
//              the arm in ordinary least squares y ~ 1 + arm + x
// The interval is asymptotic_cs of y', variance a sample variance an arm (n - 1), so it may be
// looked at all the time. theta is 0 where x does not vary.
// Pure functions; CupedArm is O(1) memory. Not thread-safe.
#pragma once

#include "base/evidence/asymptotic_cs.h"
#include "base/result.h"

namespace trimtab::evidence {

// Count, means and centred sums of products of one arm, updated one unit at a time (Welford).
class CupedArm {
 public:
  // kInvalid, and nothing changes, when a value is not finite.
  [[nodiscard]] Status add(double y, double x);
  [[nodiscard]] double n() const { return n_; }
  [[nodiscard]] double mean_y() const { return mean_y_; }
  [[nodiscard]] double mean_x() const { return mean_x_; }
  // Sums of squared deviations and of their products.
  [[nodiscard]] double yy() const { return yy_; }
  [[nodiscard]] double xx() const { return xx_; }
  [[nodiscard]] double xy() const { return xy_; }

 private:
  double n_ = 0.0, mean_y_ = 0.0, mean_x_ = 0.0, yy_ = 0.0, xx_ = 0.0, xy_ = 0.0;
};

enum class Slope { kJoint, kWithin };

struct CupedResult {
  double theta = 0.0;
  AsymptoticResult adjusted;
  double plain_estimate = 0.0, plain_se = 0.0;  // without x
  double variance_reduction = 0.0;              // 1 - (se / plain_se)^2
};

// b - a (kAbsolute) or (b - a)/a by the delta method, a's mean not adjusted (kRelative).
// kInvalid: fewer than two units an arm, effect kMean, no relative effect against a mean of 0.
[[nodiscard]] Result<CupedResult> cuped(const CupedArm& a, const CupedArm& b, Effect effect,
                                        Slope slope, const AsymptoticParams& params);

}  // namespace trimtab::evidence
