// compare t and cohens_d said "undefined" for values near 1e100 and beyond (squares overflowed) or
// near 1e-100 (df became 0/0), and lost digits beside a large offset.
#include <gtest/gtest.h>

#include <cmath>

#include "drift/compare/window_test.h"

namespace trimtab::drift {
namespace {

Result<TestResult> run(const char* name, double scale, double offset) {
  Samples samples;
  for (const double x : {1.0, 2.0, 4.0, 7.0}) {
    samples.reference.numbers.push_back(x * scale + offset);
  }
  for (const double x : {2.0, 5.0, 9.0, 11.0, 3.0}) {
    samples.current.numbers.push_back(x * scale + offset);
  }
  const WindowTest* test = find_window_test(name);
  return compare_windows(*test, samples, Parameters::parse(test->parameters, {}).value());
}

TEST(TOfExtremeValues, DoesNotDependOnTheUnit) {  // expected: SciPy 1.17.1 at scale 1
  for (const double scale : {1.0, 1e100, 1e300, 1e-100, 1e-300}) {
    const auto t = run("t", scale, 0.0);
    ASSERT_TRUE(t.has_value()) << scale << ": " << t.error().message;
    EXPECT_NEAR(t->statistic, -1.1470786693528088, 1e-12) << scale;
    EXPECT_NEAR(*t->p_value, 0.2895732143100325, 1e-12) << scale;
    EXPECT_NEAR(*t->df, 6.898089171974523, 1e-11) << scale;
    const auto d = run("cohens_d", scale, 0.0);
    ASSERT_TRUE(d.has_value()) << scale << ": " << d.error().message;
    EXPECT_NEAR(d->statistic, -0.7349309197401641, 1e-12) << scale;
  }
}

TEST(TOfExtremeValues, ALargeOffsetCostsNoDigits) {
  EXPECT_NEAR(run("t", 1.0, 1e9)->statistic, -1.1470786693528088, 1e-12);
  EXPECT_NEAR(run("cohens_d", 1.0, 1e12)->statistic, -0.7349309197401641, 1e-12);
}

}  // namespace
}  // namespace trimtab::drift
