// Kernel distances between two samples of vectors, Gaussian kernel k(x, y) = exp(-|x-y|^2/(2 s^2)).
//   mmd   squared maximum mean discrepancy (Gretton et al., JMLR 2012). unbiased: the diagonals
//   left
//         out (may be negative); biased: with them
//   lsdd  least-squares density difference (Sugiyama et al. 2013), centres z = both samples:
//         H_ij = (pi s^2)^(d/2) exp(-|z_i-z_j|^2/(4 s^2)), h_i = mean over the reference minus mean
//         over current of k(x, z_i), theta = (H + lambda I)^-1 h; 2 theta'h - theta'H theta
// sigma: a number, or `median` of the pooled pairwise distances. No default threshold: drift needs
// threshold= or permutations=N. O(N^2 d), lsdd O(N^3): at most 8192 (lsdd 3072) rows in all, more
// is an error that says so.
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> kernel_tests();

}  // namespace trimtab::drift
