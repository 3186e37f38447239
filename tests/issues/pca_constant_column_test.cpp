// compare pca_reconstruction divided a constant column by the rounding of its mean: an error of
// 1e15 where scikit-learn's StandardScaler leaves the column alone.
#include <gtest/gtest.h>

#include "drift/compare/window_test.h"

namespace trimtab::drift {
namespace {

TEST(PcaConstantColumn, HasScaleOne) {  // expected: scikit-learn 1.9.1
  Samples samples;
  samples.reference.vectors = {{3.1, 1, 2},    {3.1, 0, 1},    {3.1, -1, 1}, {3.1, -2, 1.5},
                               {3.1, .5, .5}, {3.1, 2, 2.5}, {3.1, 1.5, 0}};
  samples.current.vectors = {{2, 3, 1}, {1, 3, 2}};
  const WindowTest* test = find_window_test("pca_reconstruction");
  const auto parameters = Parameters::parse(test->parameters, {}).value();
  const auto found = compare_windows(*test, samples, parameters);
  ASSERT_TRUE(found.has_value()) << found.error().message;
  EXPECT_NEAR(found->statistic, 1.6, 1e-9);
  EXPECT_NEAR(*found->reference, 0.0, 1e-9);
  EXPECT_EQ(*found->components, 2);
}

}  // namespace
}  // namespace trimtab::drift
