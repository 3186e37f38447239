// The promises of rank_e by simulation, as the acceptance page states them: false alarms on five
// distributions and two reference sizes, delays beside ADWIN's at equal false alarms, time under
// bursts, autocorrelated data after calibration. Seeds are fixed and printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <vector>

#include "base/random.h"
#include "drift/adwin.h"
#include "drift/calibration.h"
#include "drift/rank_e.h"

namespace trimtab::drift {
namespace {

using Draw = std::function<double(Random&)>;

struct Law {
  const char* name;
  Draw draw;
  bool categorical = false;
};

double zipf12(Random& random) {
  static const std::vector<double> cumulated = [] {
    std::vector<double> sums;
    double total = 0.0;
    for (int i = 1; i <= 12; ++i) sums.push_back(total += 1.0 / i);
    for (double& x : sums) x /= total;
    return sums;
  }();
  const double u = random.uniform();
  return static_cast<double>(std::upper_bound(cumulated.begin(), cumulated.end() - 1, u) -
                             cumulated.begin());
}

std::vector<Law> laws() {
  const auto t3 = [](Random& r) {
    double sum = 0.0;
    const double z = r.normal();
    for (int i = 0; i < 3; ++i) sum += std::pow(r.normal(), 2.0);
    return z / std::sqrt(sum / 3.0);
  };
  return {{"normal", [](Random& r) { return r.normal(); }},
          {"lognormal", [](Random& r) { return std::exp(r.normal()); }},
          {"bimodal", [](Random& r) { return (r.chance(0.5) ? -2.0 : 2.0) + 0.5 * r.normal(); }},
          {"t3", t3},
          {"80 % zeros", [](Random& r) { return r.chance(0.8) ? 0.0 : std::exp(r.normal()); }},
          {"two values", [](Random& r) { return r.chance(0.5) ? 10.0 : 13.0; }},
          {"zipf 12", zipf12, true},
          {"80 % one of 12", [](Random& r) { return r.chance(0.8) ? 0.0 : zipf12(r); }, true}};
}

std::shared_ptr<const RankBets> make_bets(const Law& law, std::size_t n, Random& random) {
  if (law.categorical) {
    std::vector<CategoryCount> counts(12);
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i].hash = i + 1;
    for (std::size_t i = 0; i < n; ++i) ++counts[static_cast<std::size_t>(law.draw(random))].count;
    return std::make_shared<const RankBets>(Reference::from_categories(counts, 0), RankOptions{});
  }
  std::vector<double> values(n);
  for (double& x : values) x = law.draw(random);
  return std::make_shared<const RankBets>(Reference::from_numbers(std::move(values)),
                                          RankOptions{});
}

std::size_t bin_of(const Law& law, const Reference& reference, double x) {
  return law.categorical ? reference.bin_of_category(static_cast<std::uint64_t>(x) + 1)
                         : reference.bin_of(x);
}

TEST(Promise, IsKeptForMoreThan95PercentOfReferences) {
  constexpr double kArl = 10'000.0;
  constexpr int kReferences = 60;
  constexpr int kEvents = 100'000;  // ten promised runs
  for (const std::size_t n : {1500UL, 10'000UL}) {
    for (const Law& law : laws()) {
      int broken = 0;
      std::int64_t alarms_in_all = 0;
      for (int reference = 0; reference < kReferences; ++reference) {
        Random random(1000 * n + static_cast<std::uint64_t>(reference));
        const auto bets = make_bets(law, n, random);
        RankState state;
        int alarms = 0;
        for (int i = 0; i < kEvents; ++i) {
          const std::size_t bin = bin_of(law, bets->reference(), law.draw(random));
          if (bets->update(state, bin, 1.0F) < static_cast<float>(kArl)) continue;
          ++alarms;
          state.reset();
        }
        broken += alarms * kArl > kEvents ? 1 : 0;
        alarms_in_all += alarms;
      }
      std::printf("N %5zu %-10s broken for %d of %d references, %lld alarms where %d are allowed\n",
                  n, law.name, broken, kReferences, static_cast<long long>(alarms_in_all),
                  kReferences * static_cast<int>(kEvents / kArl));
      EXPECT_LE(broken, kReferences / 20) << law.name << " " << n;
    }
  }
}

// The house's figure: a promise of 1e5 kept for >= 95 % of 200 references. A reference keeps it
// when its mean run is 1e5 or more; over two promised runs of a keeper 2 alarms are expected, so
// one that exactly keeps it shows 6 or more with probability .017: those count as broken.
TEST(Promise, Of1e5IsKeptForMoreThan95PercentOf200References) {
  constexpr double kArl = 100'000.0;
  constexpr int kReferences = 200;
  constexpr int kEvents = 200'000;
  constexpr int kTooMany = 6;
  for (const Law& law : laws()) {
    int broken = 0;
    std::int64_t alarms_in_all = 0;
    for (int reference = 0; reference < kReferences; ++reference) {
      Random random(31'000'000 + static_cast<std::uint64_t>(reference));
      const auto bets = make_bets(law, 10'000, random);
      RankState state;
      int alarms = 0;
      for (int i = 0; i < kEvents; ++i) {
        const std::size_t bin = bin_of(law, bets->reference(), law.draw(random));
        if (bets->update(state, bin, 1.0F) < static_cast<float>(kArl)) continue;
        ++alarms;
        state.reset();
      }
      broken += alarms >= kTooMany ? 1 : 0;
      alarms_in_all += alarms;
    }
    std::printf(
        "promise 1e5, seeds 31000000..: %-10s %lld alarms over %d references, %d expected "
        "at most; broken for %d\n",
        law.name, static_cast<long long>(alarms_in_all), kReferences,
        static_cast<int>(kReferences * (kEvents / kArl)), broken);
    EXPECT_LE(broken, kReferences / 20) << law.name;
    EXPECT_LE(static_cast<double>(alarms_in_all), kReferences * (kEvents / kArl)) << law.name;
  }
}

TEST(Promise, HoldsInTimeUnderBursts) {
  // Events come in bursts of 50 a second apart by 1 ms, then a pause of 950 ms: 50 events a second.
  constexpr double kTargetMs = 200'000.0;  // 10,000 events at the mean rate
  constexpr int kEvents = 100'000;
  int broken = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    const auto bets = make_bets(laws()[0], 10'000, random);
    RankState state;
    int alarms = 0;
    double elapsed = 0.0;
    for (int i = 0; i < kEvents; ++i) {
      const float dt = i % 50 == 0 ? 951.0F : 1.0F;
      elapsed += static_cast<double>(dt);
      if (bets->update(state, bets->reference().bin_of(random.normal()), dt) <
          static_cast<float>(kTargetMs)) {
        continue;
      }
      ++alarms;
      state.reset();
    }
    broken += alarms * kTargetMs > elapsed ? 1 : 0;
  }
  EXPECT_LE(broken, 2);
}

// AR(1) with the given coefficient and unit variance.
struct Autoregressive {
  double rho;
  double last = 0.0;
  double next(Random& random) {
    last = rho * last + std::sqrt(1.0 - rho * rho) * random.normal();
    return last;
  }
};

Calibration calibrate_values(const std::vector<double>& values) {
  CalibrationSample sample;
  sample.size = values.size();
  sample.build = [&values](std::size_t, std::size_t from, std::size_t to, std::size_t step) {
    std::vector<double> part;
    for (std::size_t i = from; i < to; i += step) part.push_back(values[i]);
    std::vector<Reference> references;  // one cell
    references.push_back(Reference::from_numbers(std::move(part)));
    return references;
  };
  sample.bin = [&values](const Reference& reference, std::size_t, std::size_t event) {
    return reference.bin_of(values[event]);
  };
  return calibrate(sample, RankOptions{}, 0.5);
}

TEST(Calibration, AutocorrelatedDataIsArmedAndKeepsThePromise) {
  constexpr double kTarget = 10'000.0;
  constexpr int kReferences = 30;
  constexpr int kEvents = 400'000;
  int armed = 0;
  int broken = 0;
  int broken_uncalibrated = 0;
  double theta = 0.0;
  for (int reference = 0; reference < kReferences; ++reference) {
    Random random(50 + static_cast<std::uint64_t>(reference));
    Autoregressive process{0.3};
    std::vector<double> values(10'000);
    for (double& x : values) x = process.next(random);
    const Calibration calibration = calibrate_values(values);
    if (!calibration.armed) continue;
    ++armed;
    theta += calibration.theta;
    const double threshold =
        raised_threshold(calibration, kTarget, static_cast<double>(calibration.thin));
    const RankBets bets(Reference::from_numbers(values), {});
    const auto run = [&](double c, std::int64_t thin) {
      Random fresh(900 + static_cast<std::uint64_t>(reference));
      Autoregressive continued{0.3};
      RankState state;
      int alarms = 0;
      for (int i = 0; i < kEvents; ++i) {
        const double x = continued.next(fresh);
        if (i % thin != 0) continue;
        const auto dt = static_cast<float>(thin);
        if (static_cast<double>(bets.update(state, bets.reference().bin_of(x), dt)) < c) continue;
        ++alarms;
        state.reset();
      }
      return alarms;
    };
    const int alarms = run(threshold, calibration.thin);
    broken += alarms * kTarget > kEvents ? 1 : 0;
    broken_uncalibrated += run(kTarget, 1) * kTarget > kEvents ? 1 : 0;
  }
  std::printf("AR(1) .3: armed %d of %d, mean theta %.2f; broken %d calibrated, %d without\n",
              armed, kReferences, theta / std::max(armed, 1), broken, broken_uncalibrated);
  EXPECT_GE(armed, kReferences - 1);
  EXPECT_LE(broken, 2);
  EXPECT_GE(broken_uncalibrated, kReferences / 2);
}

TEST(Calibration, IndependentDataIsLeftAloneAndATrendIsRefused) {
  Random random(3);
  std::vector<double> values(10'000);
  for (double& x : values) x = random.normal();
  const Calibration good = calibrate_values(values);
  EXPECT_TRUE(good.armed);
  EXPECT_EQ(good.thin, 1);
  EXPECT_GT(good.theta, 0.7);
  EXPECT_LT(raised_threshold(good, 1e5, 1.0), 1e6);  // what the bounds cost: at most 2.3 nats
  EXPECT_GE(raised_threshold(good, 1e5, 1.0), 1e5);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += 6.0 * static_cast<double>(i) / 1e4;
  const Calibration trend = calibrate_values(values);
  EXPECT_FALSE(trend.armed);
  EXPECT_NE(trend.reason.find("measured run"), std::string::npos);
}

// ---- delays, with ADWIN beside ---------------------------------------------------------------

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Mean run of ADWIN on independent normal values.
double adwin_run(double delta) {
  int alarms = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Random random(seed);
    Adwin detector({.delta = delta});
    for (int i = 0; i < 100'000; ++i) {
      if (!detector.update(random.normal()).drift) continue;
      ++alarms;
      detector.reset();
    }
  }
  return 600'000.0 / std::max(alarms, 1);
}

TEST(Delay, IsNotBehindAdwinAtEqualFalseAlarms) {
  constexpr double kArl = 20'000.0;
  constexpr int kRuns = 61;
  constexpr int kBefore = 2000;
  constexpr int kLimit = 20'000;
  int alarms = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Random random(70 + seed);
    RankE detector(make_bets(laws()[0], 10'000, random), kArl);
    for (int i = 0; i < 100'000; ++i) {
      if (!detector.update(random.normal()).drift) continue;
      ++alarms;
      detector.reset();
    }
  }
  const double run = 600'000.0 / std::max(alarms, 1);
  double delta = 0.0;
  double nearest = 1e300;
  for (const double candidate : {0.1, 0.03, 0.01, 0.003, 0.001}) {
    const double gap = std::fabs(std::log(adwin_run(candidate) / run));
    if (gap < nearest) {
      nearest = gap;
      delta = candidate;
    }
  }
  std::printf("rank_e measured run %.0f at promise %.0f; ADWIN delta %g\n", run, kArl, delta);
  struct Change {
    double shift, scale, allowed;  // allowed: times ADWIN's delay
  };
  // Required: 1.5 at a quarter, 1.1 elsewhere; the house's goal, kept here: never behind.
  for (const Change change : {Change{0.25, 1, 1.0}, Change{0.5, 1, 1.0}, Change{1, 1, 1.0},
                              Change{2, 1, 1.0}, Change{0, 1.5, 0}}) {
    std::vector<double> ours;
    std::vector<double> theirs;
    int found = 0;
    for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
      Random random(4000 + seed);
      RankE rank(make_bets(laws()[0], 10'000, random), kArl);
      Adwin adwin({.delta = delta});
      for (int i = 0; i < kBefore; ++i) {
        const double x = random.normal();
        if (rank.update(x).drift) rank.reset();
        if (adwin.update(x).drift) adwin.reset();
      }
      double a = kLimit;
      double b = kLimit;
      for (int i = 1; i <= kLimit && (a == kLimit || b == kLimit); ++i) {
        const double x = change.shift + change.scale * random.normal();
        if (a == kLimit && rank.update(x).drift) a = i;
        if (b == kLimit && adwin.update(x).drift) b = i;
      }
      ours.push_back(a);
      theirs.push_back(b);
      found += a <= 2000 ? 1 : 0;
    }
    std::printf("shift %.2f scale %.1f: rank_e %.0f, ADWIN %.0f events; within 2,000: %d of %d\n",
                change.shift, change.scale, median(ours), median(theirs), found, kRuns);
    if (change.allowed > 0.0) {
      EXPECT_LE(median(ours), change.allowed * median(theirs)) << change.shift;
    } else {
      EXPECT_GE(found, static_cast<int>(0.95 * kRuns));
    }
  }
}

TEST(Delay, StaysWithinTheHousesFigures) {
  // Medians at a promise of 1e5: STATISTICS.md 1 and the figures of the evidence issue.
  struct Figure {
    std::size_t n;
    double shift, scale, allowed;
  };
  for (const Figure figure :
       {Figure{10'000, 0.25, 1, 370}, Figure{10'000, 0.5, 1, 98}, Figure{10'000, 1, 1, 30},
        Figure{10'000, 2, 1, 10}, Figure{10'000, 0, 1.5, 80}, Figure{1500, 0.25, 1, 500},
        Figure{1500, 0.5, 1, 115}, Figure{1500, 1, 1, 32}, Figure{1500, 2, 1, 10},
        Figure{1500, 0, 1.5, 95}}) {
    std::vector<double> delays;
    for (std::uint64_t seed = 1; seed <= 201; ++seed) {
      Random random(1000 + seed);
      RankE detector(make_bets(laws()[0], figure.n, random), 1e5);
      for (int i = 0; i < 2000; ++i) {
        if (detector.update(random.normal()).drift) detector.reset();
      }
      int i = 1;
      while (i < 20'000 && !detector.update(figure.shift + figure.scale * random.normal()).drift) {
        ++i;
      }
      delays.push_back(i);
    }
    std::printf("N %5zu shift %.2f scale %.1f: median %.0f (figure %.0f)\n", figure.n, figure.shift,
                figure.scale, median(delays), figure.allowed);
    EXPECT_LE(median(delays), figure.allowed);
  }
}

}  // namespace
}  // namespace trimtab::drift
