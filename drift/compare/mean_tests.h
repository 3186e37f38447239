// Differences of means and shares, reference minus current.
//   t         Welch: (m_r - m_c) / sqrt(v_r/n_r + v_c/n_c), df of Welch and Satterthwaite;
//             equal_var=true: Student's pooled variance, df n_r + n_c - 2. SciPy ttest_ind
//   z         pooled two-proportion: share of the second sorted category; statsmodels
//             proportions_ztest. Exactly two categories
//   cohens_d  (m_r - m_c) / pooled standard deviation
// Variances with n - 1. Fewer than two values a side, or no spread at all: an error. O(n).
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> mean_tests();

}  // namespace trimtab::drift
