// ece put a confidence of exactly k/bins by k/bins; the reference's edges are numpy.linspace's, and
// 5 * (1/7) lies below 5/7: the value belongs to the next bin.
#include <gtest/gtest.h>

#include "shadow/text/labels.h"

namespace trimtab::shadow {
namespace {

TEST(EceEdge, IsLinspaces) {
  const double confidences[] = {5.0 / 7.0, 0.8};
  const double correct[] = {1.0, 0.0};
  // One bin of two: |1 - (5/7 + .8)| / 2. In two bins it would be the mean of 2/7 and .8.
  EXPECT_NEAR(expected_calibration_error(confidences, correct, 7, EceNorm::kL1),
              (5.0 / 7.0 + 0.8 - 1.0) / 2.0, 1e-12);
}

}  // namespace
}  // namespace trimtab::shadow
