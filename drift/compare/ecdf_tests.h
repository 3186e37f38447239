// Largest distances between two empirical distribution functions F (reference) and G (current).
//   ks      max |F - G|; greater: max(F - G), less: max(G - F). SciPy ks_2samp: exact (auto: up to
//           10,000 a side), asymptotic: kstwo with n = round(n m / (n + m)), one-sided: Hodges 1957
//           (5.3)
//   kuiper  V = max(F - G) + max(G - F); p with N = n m / (n + m), z = V sqrt(N):
//           sum 2 (4 j^2 z^2 - 1) e^(-2 j^2 z^2) - 8 V / 3 sum j^2 (4 j^2 z^2 - 3) e^(-2 j^2 z^2)
//           (Stephens 1965, astropy's main branch). Frouros uses the KS statistic: not followed
// O(n log n) without the exact distribution, which is O(n m) and bounded at 10^9 cells.
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> ecdf_tests();

// Largest F - G and G - F (both >= 0).
struct EcdfGaps {
  double above = 0.0;
  double below = 0.0;
};
[[nodiscard]] EcdfGaps ecdf_gaps(const Samples& samples);

}  // namespace trimtab::drift
