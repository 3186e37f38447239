// Found by `./dev bench steady`: of fifty equally frequent answers the 31 that the reference
// happened to show most became bins, `other` was left with 30 % where 38 % belonged to it, and
// steady traffic raised an alarm. `other` must get what it has outside of the reference, too.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "drift/reference.h"

namespace trimtab::drift {
namespace {

constexpr int kEvents = 1'500;
constexpr int kSeeds = 60;

// Mean over seeds of: mass the reference gives to `other`, less the true mass of what is in it.
double bias(const std::vector<double>& masses) {
  double sum = 0.0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Random random(static_cast<std::uint64_t>(seed));
    std::vector<CategoryCount> counts(masses.size());
    for (std::size_t c = 0; c < counts.size(); ++c) counts[c].hash = c + 1;
    for (int event = 0; event < kEvents; ++event) {
      double left = random.uniform();
      std::size_t c = 0;
      while (c + 1 < masses.size() && left >= masses[c]) left -= masses[c++];
      ++counts[c].count;
      counts[c].half += event % 2;
    }
    const Reference reference = Reference::from_categories(counts, 0);
    const std::size_t other = reference.missing_bin() - 1;
    double truth = 0.0;
    for (std::size_t c = 0; c < masses.size(); ++c) {
      if (reference.bin_of_category(c + 1) == other) truth += masses[c];
    }
    sum += reference.mass(other) - truth;
  }
  return sum / kSeeds;
}

TEST(ManyCategories, OtherGetsWhatBelongsToIt) {
  EXPECT_NEAR(bias(std::vector<double>(50, .02)), 0.0, .01);  // -.08 before
  std::vector<double> zipf;
  double total = 0.0;
  for (int k = 1; k <= 120; ++k) total += 1.0 / k;
  for (int k = 1; k <= 120; ++k) zipf.push_back(1.0 / k / total);
  EXPECT_NEAR(bias(zipf), 0.0, .01);
}

TEST(ManyCategories, CountsStayWhatTheyWereWhereAllAreKept) {
  const Reference reference =
      Reference::from_categories({{1, "a", 700, 341}, {2, "b", 300, 160}}, 5);
  EXPECT_EQ(reference.count(0), 700);
  EXPECT_EQ(reference.count(1), 300);
  EXPECT_EQ(reference.count(2), 0);
}

}  // namespace
}  // namespace trimtab::drift
