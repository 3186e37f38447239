// rank_e and mean_e: what is exact about them. Their promises are in promise_test.cpp (slow).
#include "drift/rank_e.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "drift/mean_e.h"

namespace trimtab::drift {
namespace {

std::vector<double> normals(std::size_t n, Random& random) {
  std::vector<double> values(n);
  for (double& x : values) x = random.normal();
  return values;
}

std::shared_ptr<const RankBets> bets_of(std::vector<double> reference, RankOptions options = {}) {
  return std::make_shared<const RankBets>(Reference::from_numbers(std::move(reference)), options);
}

TEST(Reference, HasEqualBinsOfAContinuousSample) {
  Random random(1);
  const Reference reference = Reference::from_numbers(normals(10'000, random));
  ASSERT_EQ(reference.bins(), kMaxBins);
  for (std::size_t b = 0; b + 1 < reference.bins(); ++b) {
    EXPECT_NEAR(static_cast<double>(reference.count(b)), 312.5, 2.0) << b;
  }
  EXPECT_EQ(reference.count(reference.missing_bin()), 0);
  EXPECT_NEAR(reference.mass(reference.missing_bin()), 3.0 / 10'003.0, 1e-12);
}

TEST(Reference, GivesAnAtomABinOfItsOwnAndSeesBeyondIt) {
  std::vector<double> values(800, 0.0);
  for (int i = 0; i < 200; ++i) values.push_back(1.0 + i);
  const Reference reference = Reference::from_numbers(values);
  const std::size_t zero = reference.bin_of(0.0);
  EXPECT_EQ(reference.count(zero), 800);
  EXPECT_NE(reference.bin_of(-1.0), zero);
  EXPECT_NE(reference.bin_of(1.0), zero);
  const Reference constant = Reference::from_numbers(std::vector<double>(600, 5.0));
  EXPECT_EQ(constant.count(constant.bin_of(5.0)), 600);
  EXPECT_NE(constant.bin_of(5.0), constant.bin_of(std::nextafter(5.0, 6.0)));
  EXPECT_NE(constant.bin_of(5.0), constant.bin_of(4.9));
}

TEST(Reference, MissingAndInfiniteValuesShareABin) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> values(500, nan);
  for (int i = 0; i < 500; ++i) values.push_back(i);
  const Reference reference = Reference::from_numbers(values);
  EXPECT_EQ(reference.count(reference.missing_bin()), 500);
  EXPECT_EQ(reference.bin_of(nan), reference.missing_bin());
  EXPECT_EQ(reference.bin_of(std::numeric_limits<double>::infinity()), reference.missing_bin());
}

TEST(Reference, KeepsThe31MostFrequentCategories) {
  std::vector<CategoryCount> counts;
  for (std::uint64_t i = 1; i <= 40; ++i) {
    counts.push_back({i, "c" + std::to_string(i), static_cast<std::int64_t>(100 - i)});
  }
  const Reference reference = Reference::from_categories(counts, 7);
  EXPECT_EQ(reference.bins(), 33U);
  EXPECT_EQ(reference.label(reference.bin_of_category(1)), "c1");
  EXPECT_EQ(reference.label(reference.bin_of_category(32)), "other");
  EXPECT_EQ(reference.label(reference.bin_of_category(999)), "other");
  EXPECT_EQ(reference.bin_of_category(0), reference.missing_bin());
  EXPECT_EQ(reference.count(reference.missing_bin()), 7);
}

TEST(Reference, SavedAndLoadedItIsTheSame) {
  Random random(2);
  const Reference before = Reference::from_numbers(normals(777, random));
  ByteWriter out(1, 1);
  before.save(out);
  const std::string bytes = out.take();
  ByteReader in(bytes, 1, 1, "test");
  const Reference after = Reference::load(in);
  ASSERT_TRUE(in.finish().has_value());
  for (int i = 0; i < 1000; ++i) {
    const double x = random.normal();
    ASSERT_EQ(before.bin_of(x), after.bin_of(x));
  }
}

TEST(RankE, BetsAreFairUnderTheirOwnReference) {
  Random random(3);
  const RankBets bets(Reference::from_numbers(normals(2000, random)), {});
  const Reference& reference = bets.reference();
  const RankState fresh;
  for (std::size_t k = 0; k < kBets; ++k) {
    double mean = 0.0;
    for (std::size_t b = 0; b < reference.bins(); ++b) {
      mean += reference.mass(b) * std::exp(bets.log_ratio(fresh, k, b));
    }
    const double floor = k == kFixedBets ? reference.floor_excess() : 0.0;
    EXPECT_NEAR(mean, 1.0 / (1.0 + bets.tau(k)) / (1.0 + floor), 1e-5) << RankBets::bet_name(k);
  }
}

TEST(RankE, TheTaxIsThePagesFormula) {
  Random random(4);
  const RankBets small(Reference::from_numbers(normals(1500, random)), {});
  const RankBets large(Reference::from_numbers(normals(10'000, random)), {});
  // chi2 of a shift by .25 sigma of a normal is e^(1/16) - 1; bins lose a little of it.
  const double expected = 1.6449 * std::sqrt(0.98 * 0.98 * (std::exp(0.0625) - 1.0) / 10'000.0);
  EXPECT_NEAR(large.tau(4), expected, 0.03 * expected);
  EXPECT_NEAR(small.tau(4) / large.tau(4), std::sqrt(10'000.0 / 1500.0), 0.05);
  EXPECT_NEAR(large.tau(kFixedBets), 55.003 / 10'000.0, 1e-5);  // .995 quantile, 31 dof
}

TEST(RankE, NoBetWinsTheMassOfBinsThatNobodySees) {
  // Two values, as an answer's length often has: below, between, above and missing are floors.
  std::vector<double> values;
  for (int i = 0; i < 600; ++i) values.push_back(i % 2 == 0 ? 10.0 : 13.0);
  const RankBets bets(Reference::from_numbers(values), {});
  const Reference& reference = bets.reference();
  RankState state;
  for (int i = 0; i < 20'000; ++i)
    (void)bets.update(state, reference.bin_of(values[i % 600]), 1.0F);
  for (std::size_t k = 0; k < kBets; ++k) {
    const double mean = 0.5 * std::exp(bets.log_ratio(state, k, reference.bin_of(10.0))) +
                        0.5 * std::exp(bets.log_ratio(state, k, reference.bin_of(13.0)));
    EXPECT_LE(mean, 1.0 + 1e-6) << RankBets::bet_name(k);
  }
}

TEST(RankE, AnyMonotoneScaleAlarmsAtTheSameIndex) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    std::vector<double> log_reference = normals(3000, random);
    std::vector<double> reference;
    for (const double x : log_reference) reference.push_back(std::exp(x));
    RankE on_log(bets_of(log_reference), 1000.0);
    RankE plain(bets_of(reference), 1000.0);
    for (int i = 0; i < 3000; ++i) {
      const double x = random.normal() + (i > 1500 ? 0.5 : 0.0);
      ASSERT_EQ(on_log.update(x).drift, plain.update(std::exp(x)).drift) << seed << " " << i;
    }
  }
}

TEST(RankE, FindsShiftsSpreadsMissingValuesAndKnowsSinceWhen) {
  Random random(5);
  const auto bets = bets_of(normals(10'000, random));
  const auto alarm_after = [&](auto draw) {
    RankE detector(bets, 20'000.0);
    for (int i = 0; i < 2000; ++i) {
      if (detector.update(random.normal()).drift) detector.reset();
    }
    for (int i = 1; i <= 2000; ++i) {
      if (!detector.update(draw()).drift) continue;
      const auto& state = detector.rank_state();
      const double age = state.age[bets->leader(state)];
      EXPECT_NEAR(age, i, 0.6 * i + 12.0);
      return i;
    }
    return 99'999;
  };
  EXPECT_LT(alarm_after([&] { return 1.0 + random.normal(); }), 80);
  EXPECT_LT(alarm_after([&] { return -2.0 + random.normal(); }), 25);
  EXPECT_LT(alarm_after([&] { return 1.5 * random.normal(); }), 300);
  EXPECT_LT(alarm_after([&] { return 0.6 * random.normal(); }), 300);
  EXPECT_LT(alarm_after([&] {
              return random.chance(0.05) ? std::numeric_limits<double>::quiet_NaN()
                                         : random.normal();
            }),
            400);
}

TEST(RankE, FindsANewCategoryAtFivePercent) {
  Random random(6);
  std::vector<CategoryCount> counts(6);
  for (std::size_t i = 0; i < 6; ++i) counts[i] = {i + 1, "c", 0};
  for (int i = 0; i < 10'000; ++i) ++counts[random.below(6)].count;
  const RankBets bets(Reference::from_categories(counts, 0), {});
  RankState state;
  int found = 0;
  for (int i = 1; i <= 3000 && found == 0; ++i) {
    const std::uint64_t category = random.chance(0.05) ? 77 : 1 + random.below(6);
    if (bets.update(state, bets.reference().bin_of_category(category), 1.0F) >= 20'000.0F)
      found = i;
  }
  EXPECT_GT(found, 0);
  EXPECT_LT(found, 1000);
}

TEST(RankE, TimeInsteadOfEventsOnlyScalesTheEvidence) {
  Random random(7);
  const auto bets = bets_of(normals(2000, random));
  RankState events;
  RankState time;
  for (int i = 0; i < 500; ++i) {
    const std::size_t bin = bets->reference().bin_of(0.3 + random.normal());
    const float a = bets->update(events, bin, 1.0F);
    const float b = bets->update(time, bin, 100.0F);
    ASSERT_NEAR(b / a, 100.0, 0.01);
  }
}

TEST(RankE, MinEffectIgnoresWhatIsSmaller) {
  Random random(8);
  const std::vector<double> reference = normals(10'000, random);
  const auto strict = bets_of(reference);
  const auto tolerant = bets_of(reference, {.half_life_events = 5000, .min_effect = 0.4});
  RankState a;
  RankState b;
  float most_strict = 0.0F;
  float most_tolerant = 0.0F;
  for (int i = 0; i < 20'000; ++i) {  // .25 sigma: chi2 = .064, w = .25 < .4
    const std::size_t bin = strict->reference().bin_of(0.25 + random.normal());
    most_strict = std::max(most_strict, strict->update(a, bin, 1.0F));
    most_tolerant = std::max(most_tolerant, tolerant->update(b, bin, 1.0F));
  }
  EXPECT_GT(most_strict, 1e6F);
  EXPECT_LT(most_tolerant, 1e5F);
  for (int i = 0; i < 400; ++i) {
    const std::size_t bin = strict->reference().bin_of(1.0 + random.normal());
    most_tolerant = std::max(most_tolerant, tolerant->update(b, bin, 1.0F));
  }
  EXPECT_GT(most_tolerant, 1e5F);
}

TEST(RankE, ThePlugInForgetsWithItsHalfLife) {
  const RankBets bets(Reference::from_categories({{1, "a", 500}, {2, "b", 500}}, 0),
                      {.half_life_events = 800.0, .min_effect = 0.0});
  RankState state;
  for (int i = 0; i < 8000; ++i) (void)bets.update(state, 0, 1.0F);
  const double full = state.counts[0];
  for (int i = 0; i < 800; ++i) (void)bets.update(state, 1, 1.0F);
  EXPECT_NEAR(state.counts[0] / full, 0.5, 0.05);
  std::uint32_t sum = 0;
  for (const auto count : state.counts) sum += count;
  EXPECT_EQ(sum, state.total);
}

TEST(RankE, NeedsAReferenceOf500) {
  const auto& row = *find_detector("rank_e");
  const auto parameters = Parameters::parse(row.parameters, {});
  const std::vector<double> few(499, 1.0);
  EXPECT_FALSE(row.make({.parameters = *parameters}).has_value());
  const auto made = row.make({.parameters = *parameters, .numbers = &few});
  ASSERT_FALSE(made.has_value());
  EXPECT_NE(made.error().message.find("500"), std::string::npos);
}

TEST(MeanE, SeesHarmAndLetsImprovementPass) {
  const auto run = [](double rate, std::uint64_t seed, int limit) {
    Random random(seed);
    MeanE detector({.arl = 10'000.0, .baseline = 0.1, .tolerance = 0.02});
    for (int i = 1; i <= limit; ++i) {
      if (detector.update(random.chance(rate) ? 1.0 : 0.0).drift) return i;
    }
    return limit + 1;
  };
  std::vector<int> large;
  std::vector<int> small;
  for (std::uint64_t seed = 1; seed <= 41; ++seed) {
    large.push_back(run(0.20, seed, 10'000));
    small.push_back(run(0.15, seed, 50'000));
  }
  std::nth_element(large.begin(), large.begin() + 20, large.end());
  std::nth_element(small.begin(), small.begin() + 20, small.end());
  EXPECT_LE(large[20], 400);
  EXPECT_LE(small[20], 2500);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) EXPECT_EQ(run(0.05, seed, 20'000), 20'001);
}

TEST(MeanE, DownAndScaledValuesMirrorUp) {
  Random random(9);
  MeanE up({.arl = 1000.0, .baseline = 0.2, .tolerance = 0.05});
  MeanE down({.arl = 1000.0, .baseline = 8.0, .tolerance = 0.5, .up = false, .low = 0, .high = 10});
  for (int i = 0; i < 3000; ++i) {
    const double x = random.uniform() * 0.8;
    const bool a = up.update(x).drift;
    ASSERT_EQ(a, down.update(10.0 * (1.0 - x)).drift) << i;
    if (a) {
      up.reset();
      down.reset();
    }
  }
}

TEST(MeanE, UpperBoundCoversAndShrinks) {
  EXPECT_DOUBLE_EQ(upper_mean_bound(0.3, 0, 0.05), 1.0);
  EXPECT_NEAR(upper_mean_bound(0.0, 100, 0.05), 1.0 - std::pow(0.05, 0.01), 1e-9);
  EXPECT_GT(upper_mean_bound(0.1, 100, 0.05), upper_mean_bound(0.1, 1000, 0.05));
  Random random(10);
  int missed = 0;
  for (int run = 0; run < 1000; ++run) {
    double sum = 0.0;
    for (int i = 0; i < 200; ++i) sum += random.chance(0.12) ? 1.0 : 0.0;
    missed += upper_mean_bound(sum / 200.0, 200, 0.05) < 0.12 ? 1 : 0;
  }
  EXPECT_LE(missed, 50);
}

}  // namespace
}  // namespace trimtab::drift
