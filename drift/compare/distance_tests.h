// Distances between two distributions on the line, by one sweep over the sorted values.
//   wasserstein  integral |F - G| (first order). weights=true: values carry weights.
//                normalize=reference_std: divided by max(population sd of the reference, .001)
//                (Evidently); range: by the pooled range. SciPy wasserstein_distance
//   energy       sqrt(2 integral (F - G)^2). SciPy energy_distance
// O(n log n).
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> distance_tests();

}  // namespace trimtab::drift
