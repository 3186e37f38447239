// Error rates and sizing by simulation, looking after every pair (STATISTICS.md section 7,
// ACCEPTANCE.md 7-11). Seeds are fixed and printed; every figure is printed beside its bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include "base/evidence/asymptotic_cs.h"
#include "base/evidence/bernoulli_ci.h"
#include "base/evidence/empirical_bernstein_cs.h"
#include "base/evidence/hedged_cs.h"
#include "base/evidence/paired_betting.h"
#include "base/random.h"

namespace trimtab::evidence {
namespace {

// The next D, given how many came before and their sum (a law may depend on its past).
using Law = std::function<double(Random&, int, double)>;

struct Rates {
  double non_inferior = 0, superior = 0, harm = 0;
  double median_non_inferior = 0, median_superior = 0, median_harm = 0;
};

double median_of(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

Rates simulate(const char* name, const PairedBettingParams& params, const Law& law, int runs,
               int pairs, std::uint64_t seed) {
  std::vector<double> times[3];
  for (int run = 0; run < runs; ++run) {
    Random random(seed + static_cast<std::uint64_t>(run) * 7919);
    PairedBetting betting(params);
    double sum = 0.0;
    for (int i = 0; i < pairs; ++i) {
      const double d = law(random, i, sum);
      sum += d;
      EXPECT_TRUE(betting.update(d));
    }
    const Capital* sides[3] = {&betting.non_inferior(), &betting.superior(), &betting.harm()};
    for (int k = 0; k < 3; ++k) {
      const auto& at = sides[k]->crossed_at;
      times[k].push_back(at ? static_cast<double>(*at) + 1.0 : 1e9);
    }
  }
  const auto share = [&](int k) {
    return static_cast<double>(
               std::count_if(times[k].begin(), times[k].end(), [](double t) { return t < 1e9; })) /
           runs;
  };
  Rates rates{share(0), share(1), share(2), 0, 0, 0};
  rates.median_non_inferior = median_of(times[0]);
  rates.median_superior = median_of(times[1]);
  rates.median_harm = median_of(times[2]);
  std::printf(
      "%-28s seed %llu runs %d pairs %d: non_inferior %.4f (median %.0f) superior %.4f "
      "(median %.0f) harm %.4f (median %.0f)\n",
      name, static_cast<unsigned long long>(seed), runs, pairs, rates.non_inferior,
      rates.median_non_inferior, rates.superior, rates.median_superior, rates.harm,
      rates.median_harm);
  return rates;
}

// alpha plus what a 1 % one-sided test of "rate <= alpha" allows.
double allowed(double alpha, int runs) {
  return alpha + 2.326 * std::sqrt(alpha * (1.0 - alpha) / runs);
}

Law ties(double mean, double tie_share) {
  return [=](Random& random, int, double) {
    if (random.chance(tie_share)) return 0.0;
    return random.chance(0.5 + mean / (2.0 * (1.0 - tie_share))) ? 1.0 : -1.0;
  };
}
// Skewed: mostly a little up, rarely far down; mean as asked.
Law skewed(double mean) {
  return [=](Random& random, int, double) { return random.chance(0.1) ? -0.9 + mean : 0.1 + mean; };
}
// A mean that moves with time, around `mean` and never above it at the null's side.
Law moving(double mean) {
  return [=](Random& random, int i, double) {
    const double shift = -0.1 * (0.5 + 0.5 * std::sin(i / 200.0));
    const double up = 0.15 + (mean + shift) / 2.0;
    return random.chance(0.3) ? (random.chance(up / 0.3) ? 1.0 : -1.0) : 0.0;
  };
}
// Sizes depend on the past, the conditional mean never: a martingale stress.
Law dependent(double mean) {
  return [=](Random& random, int, double sum) {
    const double size = sum > 0 ? 0.05 : 0.9;
    return mean + (random.chance(0.5) ? size : -size);
  };
}

class BoundaryRates : public ::testing::TestWithParam<Bets> {};
INSTANTIATE_TEST_SUITE_P(Bets, BoundaryRates, ::testing::Values(Bets::kGrid, Bets::kPredmix));

TEST_P(BoundaryRates, KeptAtEveryBoundaryLookingAfterEveryPair) {
  constexpr int kRuns = 2'000;
  constexpr int kPairs = 6'000;
  const std::vector<std::pair<const char*, std::function<Law(double)>>> laws = {
      {"ties", [](double mean) { return ties(mean, 0.7); }},
      {"skewed", [](double mean) { return skewed(mean); }},
      {"moving", [](double mean) { return moving(mean); }},
      {"dependent", [](double mean) { return dependent(mean); }}};
  PairedBettingParams params;
  params.bets = GetParam();
  std::uint64_t seed = 1000;
  for (const auto& [name, law] : laws) {
    SCOPED_TRACE(name);
    const Rates at_margin = simulate(name, params, law(-params.margin), kRuns, kPairs, ++seed);
    EXPECT_LE(at_margin.non_inferior, allowed(params.alpha, kRuns));
    const Rates at_zero = simulate(name, params, law(0.0), kRuns, kPairs, ++seed);
    EXPECT_LE(at_zero.superior, allowed(params.alpha, kRuns));
    // The moving law lies below its mean by design: no null for harm.
    if (std::string_view(name) != "moving") {
      EXPECT_LE(at_margin.harm, allowed(params.alpha_harm, kRuns));
      EXPECT_LE(at_zero.harm, allowed(params.alpha_harm, kRuns));
    }
  }
}

TEST(Acceptance, AaAndTheMarginOverTenThousandRecords) {
  PairedBettingParams params;
  params.margin = 0.0;
  const Rates aa = simulate("A/A margin 0", params, ties(0, 0.7), 600, 10'000, 42);
  EXPECT_LE(aa.superior, allowed(0.05, 600));
  EXPECT_LE(aa.harm, allowed(0.05, 600));
}

TEST(Acceptance, SizingIsAsPromised) {
  const PairedBettingParams params;
  const Rates plus5 = simulate("D +.05", params, ties(0.05, 0.7), 1'500, 4'000, 7);
  EXPECT_LE(plus5.median_non_inferior, 400);
  EXPECT_LE(plus5.median_superior, 780);
  EXPECT_LE(plus5.harm, allowed(0.05, 1'500));
  const Rates plus2 = simulate("D +.02", params, ties(0.02, 0.7), 800, 5'000, 8);
  EXPECT_LE(plus2.median_non_inferior, 1'200);
  const Rates minus15 = simulate("D -.15", params, ties(-0.15, 0.7), 600, 1'500, 9);
  EXPECT_GE(minus15.harm, 0.95);
}

TEST(Acceptance, SequencesCoverAtEveryLook) {
  constexpr int kRuns = 400;
  int hedged_missed = 0, bernstein_missed = 0, srm_missed = 0;
  for (int run = 0; run < kRuns; ++run) {
    Random random(500 + static_cast<std::uint64_t>(run));
    const bool skew = run % 2 == 0;
    const double mean = skew ? 0.2 : 1.0 / 3.0;
    EmpiricalBernstein bernstein(0.05);
    std::vector<double> x;
    bool hedged_ok = true, bernstein_ok = true, srm_ok = true;
    std::uint64_t counts[2] = {0, 0};
    for (int i = 0; i < 1'500; ++i) {
      const double u = random.uniform();
      x.push_back(skew ? (u < 0.2 ? 1.0 : 0.0) : u * u);
      EXPECT_TRUE(bernstein.update(x.back()));
      const Interval interval = bernstein.interval();
      bernstein_ok = bernstein_ok && interval.lower <= mean && mean <= interval.upper;
      counts[random.chance(0.5) ? 0 : 1] += 1;
      if (i % 100 != 99) continue;
      const auto hedged = hedged_cs(x, {});
      hedged_ok = hedged_ok && hedged->lower <= mean && mean <= hedged->upper;
      srm_ok = srm_ok && !srm(counts, std::vector<double>{1, 1}, {})->mismatch;
    }
    hedged_missed += !hedged_ok;
    bernstein_missed += !bernstein_ok;
    srm_missed += !srm_ok;
  }
  std::printf("missed of %d (seeds 500..): hedged %d, empirical Bernstein %d, srm %d\n", kRuns,
              hedged_missed, bernstein_missed, srm_missed);
  for (const int missed : {hedged_missed, bernstein_missed, srm_missed}) {
    EXPECT_LE(static_cast<double>(missed) / kRuns, allowed(0.05, kRuns));
  }
}

// Uniformly over 10^4 looks: a run misses when any look does not cover. Skewed 0/1 and smooth
// values turn about. The hedged sequence is looked at 10 times (its roots cost O(n) a look), srm at
// every tenth, the asymptotic one from 500 values on (it promises nothing before the normal law
// holds), all others at each.
TEST(Acceptance, SequencesCoverUniformlyOverTenThousandLooks) {
  constexpr int kRuns = 100;
  constexpr int kLooks = 10'000;
  constexpr std::uint64_t kSeed = 7'000;
  enum { kHedged, kBernstein, kAsymptotic, kSrm, kKinds };
  int missed[kKinds] = {};
  for (int run = 0; run < kRuns; ++run) {
    Random random(kSeed + static_cast<std::uint64_t>(run));
    const bool binary = run % 2 == 0;
    const double mean = binary ? 0.1 : 1.0 / 3.0;
    const auto covers = [mean](const auto& interval) {
      return interval.lower <= mean && mean <= interval.upper;
    };
    EmpiricalBernstein bernstein(0.05);
    Moments moments{.sum_squares = 0.0};
    std::vector<double> x;
    std::uint64_t counts[2] = {0, 0};
    bool good[kKinds] = {true, true, true, true};
    for (int i = 1; i <= kLooks; ++i) {
      const double u = random.uniform();
      x.push_back(binary ? (u < mean ? 1.0 : 0.0) : u * u);
      EXPECT_TRUE(bernstein.update(x.back()));
      good[kBernstein] = good[kBernstein] && covers(bernstein.interval());
      moments.n += 1.0;
      moments.sum += x.back();
      *moments.sum_squares += x.back() * x.back();
      if (i >= 500) {
        // The mean of one sample through its moments: against an arm that is always the mean.
        const double variance =
            (*moments.sum_squares - moments.sum * moments.sum / moments.n) / (moments.n - 1.0);
        const double n = moments.n;
        const double rho2 = (-2 * std::log(0.05) + std::log(1 - 2 * std::log(0.05))) / 5000.0;
        const double half = std::sqrt(variance * 2 * (n * rho2 + 1) / (n * n * rho2) *
                                      std::log(std::sqrt(n * rho2 + 1) / 0.05));
        good[kAsymptotic] = good[kAsymptotic] && std::fabs(moments.sum / n - mean) <= half;
        if (i % 2'500 == 0) {  // the formula above is the library's
          const auto library = asymptotic_cs(x, AsymptoticParams{});
          ASSERT_TRUE(library);
          EXPECT_NEAR(*library->upper - library->estimate, half, 1e-9);
        }
      }
      counts[random.chance(0.5) ? 0 : 1] += 1;
      if (i % 10 == 0) {
        good[kSrm] = good[kSrm] && !srm(counts, std::vector<double>{1, 1}, {})->mismatch;
      }
      if (i % 1'000 != 0) continue;
      good[kHedged] = good[kHedged] && covers(*hedged_cs(x, {}));
    }
    for (int kind = 0; kind < kKinds; ++kind) missed[kind] += !good[kind];
  }
  std::printf(
      "missed of %d over 10^4 looks (seeds %llu..): hedged %d, empirical Bernstein %d, "
      "asymptotic %d, srm %d\n",
      kRuns, static_cast<unsigned long long>(kSeed), missed[kHedged], missed[kBernstein],
      missed[kAsymptotic], missed[kSrm]);
  for (const int each : missed) {
    EXPECT_LE(static_cast<double>(each) / kRuns, allowed(0.05, kRuns));
  }
}

}  // namespace
}  // namespace trimtab::evidence
