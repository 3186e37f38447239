// Properties of the evidence functions that no golden case states: bad input, save/restore,
// extreme lengths, symmetry.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/evidence/asymptotic_cs.h"
#include "base/evidence/bernoulli_ci.h"
#include "base/evidence/empirical_bernstein_cs.h"
#include "base/evidence/hedged_cs.h"
#include "base/evidence/paired_betting.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::evidence {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class BothBets : public ::testing::TestWithParam<Bets> {};
INSTANTIATE_TEST_SUITE_P(Bets, BothBets, ::testing::Values(Bets::kGrid, Bets::kPredmix));

PairedBettingParams with(Bets bets, double margin = 0.02) {
  PairedBettingParams params;
  params.bets = bets;
  params.margin = margin;
  return params;
}

TEST_P(BothBets, RefusesWhatIsNotADifference) {
  PairedBetting betting(with(GetParam()));
  for (const double bad : {kNan, 1.01, -1.01, std::numeric_limits<double>::infinity()}) {
    EXPECT_FALSE(betting.update(bad));
  }
  EXPECT_EQ(0u, betting.n());
  EXPECT_EQ(0.0, betting.superior().log_e);
}

TEST_P(BothBets, SavedAndRestoredAnywhereGoesOnBitForBit) {
  Random random(7);
  PairedBetting whole(with(GetParam()));
  PairedBetting part(with(GetParam()));
  for (int i = 0; i < 300; ++i) {
    const double d = random.chance(0.6) ? 0.0 : random.uniform() * 2.0 - 1.0;
    ASSERT_TRUE(whole.update(d));
    ASSERT_TRUE(part.update(d));
    if (i % 37 == 0) {
      auto restored = PairedBetting::restore(with(GetParam()), *parse_json(dump_json(part.save())));
      ASSERT_TRUE(restored) << restored.error().message;
      part = *restored;
    }
  }
  EXPECT_EQ(dump_json(whole.save()), dump_json(part.save()));
}

TEST_P(BothBets, AnotherPlanIsAnotherExperiment) {
  PairedBetting betting(with(GetParam()));
  EXPECT_FALSE(PairedBetting::restore(with(GetParam(), 0.05), betting.save()));
  EXPECT_FALSE(PairedBetting::restore(with(GetParam()), Json("text")));
}

TEST_P(BothBets, NoOverflowAndNoNegativeWealthAtTheExtremes) {
  for (const double margin : {0.0, 0.02, 0.5, 0.95}) {
    for (const double d : {-1.0, 1.0}) {
      PairedBetting betting(with(GetParam(), margin));
      for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(betting.update(d));
      for (const auto* side : {&betting.non_inferior(), &betting.superior(), &betting.harm()}) {
        EXPECT_TRUE(std::isfinite(side->log_e)) << margin << " " << d;
      }
      EXPECT_EQ(d > 0, betting.superior().crossed_at.has_value());
      EXPECT_EQ(d < 0, betting.harm().crossed_at.has_value());
    }
  }
}

// E[wealth after one pair] <= 1 for every law on the boundary: the supermartingale property,
// computed exactly over two-point laws with mean m.
TEST_P(BothBets, OneStepIsASupermartingale) {
  const double margin = 0.1;
  const double m = (1.0 - margin) / 2.0;
  for (double low = 0.0; low < m; low += 0.05) {
    for (double high = m + 0.05; high <= 1.0; high += 0.05) {
      const double p_high = (m - low) / (high - low);
      double wealth = 0.0;
      for (const auto& [x, p] : {std::pair{high, p_high}, std::pair{low, 1.0 - p_high}}) {
        PairedBetting betting(with(GetParam(), margin));
        ASSERT_TRUE(betting.update(2.0 * x - 1.0));
        wealth += p * std::exp(betting.non_inferior().log_e);
      }
      EXPECT_NEAR(1.0, wealth, 1e-12) << low << " " << high;
    }
  }
}

TEST(PairedBetting, ValidatesItsParameters) {
  for (const double bad : {0.0, 1.0, -0.1, kNan}) {
    PairedBettingParams params;
    params.alpha = bad;
    EXPECT_FALSE(validate(params));
    params = {};
    params.alpha_harm = bad;
    EXPECT_FALSE(validate(params));
  }
  PairedBettingParams params;
  params.margin = 1.0;
  EXPECT_FALSE(validate(params));
  EXPECT_FALSE(parse_bets("kelly"));
}

TEST(HedgedCs, BadInputAndNesting) {
  EXPECT_FALSE(hedged_cs({}, {}));
  EXPECT_FALSE(hedged_cs(std::vector<double>{0.5, kNan}, {}));
  EXPECT_FALSE(hedged_cs(std::vector<double>{1.5}, {}));
  Random random(3);
  std::vector<double> x;
  for (int i = 0; i < 400; ++i) x.push_back(random.uniform());
  const auto strict = hedged_cs(x, {.alpha = 0.01});
  const auto loose = hedged_cs(x, {.alpha = 0.2});
  ASSERT_TRUE(strict && loose);
  EXPECT_LT(strict->lower, loose->lower);
  EXPECT_GT(strict->upper, loose->upper);
  // Mirroring the data mirrors the interval.
  std::vector<double> mirrored;
  for (const double value : x) mirrored.push_back(1.0 - value);
  const auto mirror = hedged_cs(mirrored, {.alpha = 0.01});
  ASSERT_TRUE(mirror);
  EXPECT_NEAR(1.0 - strict->upper, mirror->lower, 1e-9);
}

TEST(EmpiricalBernstein, SavesRestoresAndRefuses) {
  Random random(5);
  EmpiricalBernstein whole(0.05), part(0.05);
  EXPECT_EQ(0.0, whole.interval().lower);
  EXPECT_FALSE(whole.update(kNan));
  EXPECT_FALSE(whole.update(1.1));
  for (int i = 0; i < 200; ++i) {
    const double x = random.uniform();
    ASSERT_TRUE(whole.update(x));
    ASSERT_TRUE(part.update(x));
    if (i == 100) part = EmpiricalBernstein::restore(0.05, part.save()).value();
  }
  EXPECT_EQ(dump_json(whole.save()), dump_json(part.save()));
  EXPECT_FALSE(EmpiricalBernstein::restore(0.1, whole.save()));
  EXPECT_FALSE(EmpiricalBernstein::restore(0.05, Json::object()));
}

TEST(Srm, ThreeArmsShareTheAlphaAndNothingCountedIsNoMismatch) {
  const std::vector<double> shares = {1, 1, 2};
  EXPECT_FALSE(srm(std::vector<std::uint64_t>{0, 0, 0}, shares, {})->mismatch);
  EXPECT_FALSE(srm(std::vector<std::uint64_t>{100, 101, 199}, shares, {})->mismatch);
  EXPECT_TRUE(srm(std::vector<std::uint64_t>{200, 100, 200}, shares, {})->mismatch);
  EXPECT_FALSE(srm(std::vector<std::uint64_t>{1}, std::vector<double>{1}, {}));
  EXPECT_FALSE(srm(std::vector<std::uint64_t>{1, 2}, std::vector<double>{1, 0}, {}));
  EXPECT_FALSE(bernoulli_ci(3, 2, {}));
  EXPECT_FALSE(bernoulli_ci(0, 0, {}));
}

TEST(AsymptoticCs, OneSidedBoundsAndConstants) {
  const Moments a{1000, 200, {}}, b{1000, 260, {}};
  const auto lower = asymptotic_cs(a, b, Effect::kAbsolute, {.side = Side::kLower});
  const auto upper = asymptotic_cs(a, b, Effect::kAbsolute, {.side = Side::kUpper});
  const auto two = asymptotic_cs(a, b, Effect::kAbsolute, {});
  ASSERT_TRUE(lower && upper && two);
  EXPECT_FALSE(lower->upper);
  EXPECT_FALSE(upper->lower);
  EXPECT_GT(*lower->lower, *two->lower);  // one side buys a tighter bound
  EXPECT_EQ(1.0, upper->p_value);
  EXPECT_FALSE(asymptotic_cs(std::vector<double>{1.0}, {}));
  EXPECT_FALSE(asymptotic_cs(std::vector<double>{1.0, kNan}, {}));
  EXPECT_EQ(-std::numeric_limits<double>::infinity(), upper->log_e);  // the other side's
  // Four equal answers are no certainty.
  EXPECT_FALSE(asymptotic_cs(std::vector<double>{0.0, 0.0}, {}));
  EXPECT_FALSE(asymptotic_cs(Moments{2, 0, {}}, Moments{2, 2, {}}, Effect::kAbsolute, {}));
}

}  // namespace
}  // namespace trimtab::evidence
