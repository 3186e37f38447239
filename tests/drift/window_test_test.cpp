// The window tests without the shared vectors: known values of SciPy 1.17, limit cases, errors. The
// golden comparisons (tests/golden) cover every test at length.
#include <gtest/gtest.h>

#include "drift/compare/window_test.h"

namespace trimtab::drift {
namespace {

Result<TestResult> run(const char* name, const Samples& samples, const ParameterPairs& set = {}) {
  const WindowTest* test = find_window_test(name);
  EXPECT_NE(test, nullptr) << name;
  const auto parameters = Parameters::parse(test->parameters, set);
  EXPECT_TRUE(parameters.has_value()) << name;
  return compare_windows(*test, samples, *parameters);
}

Samples numbers(std::vector<double> reference, std::vector<double> current) {
  Samples samples;
  samples.reference.numbers = std::move(reference);
  samples.current.numbers = std::move(current);
  return samples;
}

TEST(WindowTests, AreTwentyFive) { EXPECT_EQ(window_test_table().size(), 25U); }

TEST(WindowTests, SmallSamplesByHand) {
  const Samples apart = numbers({1, 2, 3}, {4, 5, 6});
  const auto ks = run("ks", apart);
  EXPECT_DOUBLE_EQ(ks->statistic, 1.0);
  EXPECT_NEAR(*ks->p_value, 0.1, 1e-12);  // 2 of the 20 paths
  const auto u = run("mann_whitney", apart);
  EXPECT_DOUBLE_EQ(u->statistic, 0.0);
  EXPECT_NEAR(*u->p_value, 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(run("wasserstein", apart)->statistic, 3.0);
  EXPECT_DOUBLE_EQ(run("tvd", apart)->statistic, 1.0);
  EXPECT_DOUBLE_EQ(run("cohens_d", apart)->statistic, -3.0);
}

TEST(WindowTests, DriftFollowsAlphaAndThreshold) {
  const Samples apart = numbers({1, 2, 3}, {4, 5, 6});
  EXPECT_FALSE(run("ks", apart)->drift);
  EXPECT_TRUE(run("ks", apart, {{"alpha", "0.2"}})->drift);
  EXPECT_TRUE(run("cohens_d", apart)->drift) << "the absolute value counts";
  EXPECT_FALSE(run("wasserstein", apart, {{"threshold", "3.5"}})->drift);
}

TEST(WindowTests, UndefinedIsAnErrorNeverAPass) {
  const Samples constant = numbers({5, 5, 5, 5, 5, 5}, {5, 5, 5, 5, 5, 5});
  for (const char* name : {"t", "cohens_d", "epps_singleton", "anderson_darling", "z", "fisher"}) {
    EXPECT_FALSE(run(name, constant).has_value()) << name;
  }
  for (const char* name : {"ks", "psi", "js", "tvd", "wasserstein", "energy"}) {
    const auto result = run(name, constant);
    ASSERT_TRUE(result.has_value()) << name;
    EXPECT_EQ(result->statistic, 0.0) << name;
    EXPECT_FALSE(result->drift) << name;
  }
  for (const WindowTest& test : window_test_table()) {
    EXPECT_FALSE(run(test.name, Samples{}).has_value()) << test.name;
  }
}

TEST(WindowTests, PermutationsAreDeterministicAndNeverZero) {
  Samples samples;
  for (int i = 0; i < 12; ++i) {
    samples.reference.vectors.push_back({i * 0.1, (i % 5) * 0.2});
    samples.current.vectors.push_back({3.0 + i * 0.1, (i % 4) * 0.2});
  }
  const auto first = run("mmd", samples, {{"permutations", "99"}, {"seed", "4"}});
  const auto again = run("mmd", samples, {{"permutations", "99"}, {"seed", "4"}});
  EXPECT_EQ(*first->p_value, *again->p_value);
  EXPECT_NEAR(*first->p_value, 0.01, 1e-12);
  EXPECT_TRUE(first->drift);
  EXPECT_FALSE(run("mmd", samples)->p_value.has_value());
}

}  // namespace
}  // namespace trimtab::drift
