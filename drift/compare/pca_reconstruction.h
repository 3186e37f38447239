// Reconstruction error after principal components of the reference (NannyML's multivariate drift):
// standardize by the reference (population deviation; a constant column stays), keep the fewest
// components whose share of the variance exceeds `variance`, project both sides. The statistic is
// the mean Euclidean error of current, `reference` that of the reference, `components` the count.
// scikit-learn StandardScaler + PCA. No default threshold. O(n d^2 + d^3).
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> pca_tests();

}  // namespace trimtab::drift
