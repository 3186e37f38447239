// CUPED against ordinary least squares and GrowthBook's formula, its variance and its bias.
#include "base/evidence/cuped.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace trimtab::evidence {
namespace {

constexpr double kY[2][8] = {{3.1, 4.0, 2.2, 5.6, 3.9, 4.4, 1.8, 6.1},
                             {4.2, 5.1, 3.0, 6.6, 2.7, 5.9}};
constexpr double kX[2][8] = {{2.9, 3.7, 2.5, 5.1, 3.3, 4.9, 2.0, 5.5},
                             {3.2, 4.1, 2.8, 5.4, 2.1, 4.6}};
constexpr std::size_t kUnits[2] = {8, 6};

CupedArm arm(std::size_t which) {
  CupedArm made;
  for (std::size_t i = 0; i < kUnits[which]; ++i) {
    EXPECT_TRUE(made.add(kY[which][i], kX[which][i]));
  }
  return made;
}

struct Golden {
  Slope slope;
  Effect effect;
  double theta, estimate, se;
};

// kWithin's estimate and theta: statsmodels OLS y ~ 1 + arm + x; the rest numpy by the formulas of
// gbstats' RegressionAdjustedStatistic and its difference of means.
constexpr Golden kGolden[] = {
    {Slope::kWithin, Effect::kAbsolute, 1.17698655058151, 0.739970328980140, 0.183207087973694},
    {Slope::kWithin, Effect::kRelative, 1.17698655058151, 0.190346065332512, 0.0528452811283688},
    {Slope::kJoint, Effect::kAbsolute, 1.17204261163283, 0.739784931269564, 0.183507331080448},
    {Slope::kJoint, Effect::kRelative, 1.17204261163283, 0.190298374603103, 0.0528842939769898}};

TEST(Cuped, EqualsLeastSquaresAndGrowthBook) {
  for (const Golden& golden : kGolden) {
    const auto found = cuped(arm(0), arm(1), golden.effect, golden.slope, {});
    ASSERT_TRUE(found);
    EXPECT_NEAR(found->theta, golden.theta, 1e-13);
    EXPECT_NEAR(found->adjusted.estimate, golden.estimate, 1e-13);
    EXPECT_NEAR(found->adjusted.se, golden.se, 1e-13);
    const bool absolute = golden.effect == Effect::kAbsolute;
    EXPECT_NEAR(found->plain_estimate, absolute ? 0.695833333333333 : 0.178992497320472, 1e-13);
    EXPECT_NEAR(found->plain_se, absolute ? 0.832698269921439 : 0.230698882633596, 1e-13);
  }
}

TEST(Cuped, WithoutAPastItIsThePlainDifference) {
  CupedArm a, b;
  Moments of_a{0, 0, 0}, of_b{0, 0, 0};
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    const double y = random.normal();
    CupedArm& mine = i % 2 == 0 ? a : b;
    Moments& same = i % 2 == 0 ? of_a : of_b;
    ASSERT_TRUE(mine.add(y, 1.0));
    same.n += 1;
    same.sum += y;
    *same.sum_squares += y * y;
  }
  for (const Effect effect : {Effect::kAbsolute, Effect::kRelative}) {
    const auto found = cuped(a, b, effect, Slope::kJoint, {});
    const auto plain = asymptotic_cs(of_a, of_b, effect, {});
    ASSERT_TRUE(found && plain);
    EXPECT_EQ(found->theta, 0.0);
    EXPECT_NEAR(found->adjusted.estimate, plain->estimate, 1e-9);
    EXPECT_NEAR(found->adjusted.se, plain->se, 1e-9);
    EXPECT_NEAR(*found->adjusted.lower, *plain->lower, 1e-8);
    EXPECT_NEAR(found->variance_reduction, 0.0, 1e-12);
  }
}

// Correlation r leaves 1 - r^2 of the variance, moves no estimate, and the interval covers.
TEST(Cuped, LessVarianceAndNoBias) {
  constexpr double kR = 0.8, kEffect = 0.1;
  constexpr int kRuns = 400, kUnitsAnArm = 500;
  Random random(17);
  double sum_plain = 0, sum_adjusted = 0, square_plain = 0, square_adjusted = 0, reduction = 0;
  int covered = 0;
  for (int run = 0; run < kRuns; ++run) {
    CupedArm arms[2];
    for (int i = 0; i < 2 * kUnitsAnArm; ++i) {
      const double x = random.normal();
      const double y = kR * x + std::sqrt(1 - kR * kR) * random.normal();
      ASSERT_TRUE(arms[i % 2].add(5.0 + y + (i % 2) * kEffect, x));
    }
    const auto found = cuped(arms[0], arms[1], Effect::kAbsolute, Slope::kJoint, {});
    ASSERT_TRUE(found);
    const double off_plain = found->plain_estimate - kEffect;
    const double off_adjusted = found->adjusted.estimate - kEffect;
    sum_plain += off_plain;
    sum_adjusted += off_adjusted;
    square_plain += off_plain * off_plain;
    square_adjusted += off_adjusted * off_adjusted;
    reduction += found->variance_reduction / kRuns;
    covered += *found->adjusted.lower <= kEffect && kEffect <= *found->adjusted.upper ? 1 : 0;
  }
  const double se = std::sqrt(square_adjusted / kRuns / kRuns);
  EXPECT_LT(std::abs(sum_adjusted / kRuns), 3.0 * se);
  EXPECT_NEAR(reduction, kR * kR, 0.02);
  EXPECT_NEAR(square_adjusted / square_plain, 1.0 - kR * kR, 0.1);
  EXPECT_GE(covered, 0.95 * kRuns);
}

TEST(Cuped, BadInput) {
  CupedArm a;
  EXPECT_FALSE(a.add(std::nan(""), 1.0));
  EXPECT_FALSE(a.add(1.0, INFINITY));
  EXPECT_EQ(a.n(), 0.0);
  ASSERT_TRUE(a.add(1.0, 1.0));
  EXPECT_FALSE(cuped(a, arm(1), Effect::kAbsolute, Slope::kJoint, {}));
  EXPECT_FALSE(cuped(arm(0), arm(1), Effect::kMean, Slope::kJoint, {}));
}

}  // namespace
}  // namespace trimtab::evidence
