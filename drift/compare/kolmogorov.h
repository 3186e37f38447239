// Distributions of Kolmogorov-Smirnov statistics, as SciPy 1.17 computes them.
//
// One sample, P(D_n > d): by region as scipy.stats.kstwo: Ruben and Gambino's closed forms at the
// ends, Durbin's matrix (Marsaglia, Tsang and Wang 2003; n <= 140, or n d^1.5 <= 1.4), twice the
// exact one-sided tail (Miller 1956) in the upper tail, Pelz and Good's expansion (1976) between.
// Two samples, exact: the share of lattice paths that touch a boundary, by the recurrence on
// touching probabilities (Hodges 1957; Schroeer and Trenkler 1995): no cancellation. O(n m).
#pragma once

#include <cstdint>

namespace trimtab::drift {

// REQUIRES: n >= 1. Two-sided.
[[nodiscard]] double kolmogorov_tail(double n, double d);

// P(D >= d) where d = steps / lcm(n, m), ties ignored. REQUIRES: n, m >= 1, steps >= 0.
[[nodiscard]] double two_sample_tail(std::int64_t n, std::int64_t m, std::int64_t steps,
                                     bool two_sided);

}  // namespace trimtab::drift
