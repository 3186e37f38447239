// Null distributions of the rank statistics (rank_tests.h has the sources).
#pragma once

#include <cstdint>

namespace trimtab::drift {

// P(U >= u) of Mann-Whitney's U without ties. O(n m min(n, m)).
[[nodiscard]] double mann_whitney_tail(std::int64_t n, std::int64_t m, double u);
// P(U' >= u) of the Cramer-von Mises sum (U in rank_tests.h), exact. REQUIRES: n, m <= 60.
[[nodiscard]] double cramer_von_mises_exact_tail(std::int64_t n, std::int64_t m, double u);
// P(W > x) of the limiting Cramer-von Mises distribution (Csorgo and Faraway 1996).
[[nodiscard]] double cramer_von_mises_tail(double x);
// p of the normalized two-sample Anderson-Darling statistic, within [.001, .25].
[[nodiscard]] double anderson_darling_p(double normalized);

}  // namespace trimtab::drift
