// Tests of the ranks in the pooled sample (midranks for ties); SciPy's variants.
//   mann_whitney      U of the reference = R_r - n (n + 1) / 2. auto: exact when min(n, m) <= 8 and
//                     there are no ties; asymptotic: corrected for ties and continuity. All values
//                     equal: p = 1. mannwhitneyu
//   cvm               T = U / (n m N) - (4 n m - 1) / (6 N) with
//                     U = n sum (r_i - i)^2 + m sum (s_j - j)^2, N = n + m. auto: exact when both
//                     are <= 20; at most 60 a side. cramervonmises_2samp
//   anderson_darling  midrank form of Scholz and Stephens 1987, normalized; p interpolated and kept
//                     within [.001, .25]. anderson_ksamp
// O(N log N) without the exact distributions.
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> rank_tests();

}  // namespace trimtab::drift
