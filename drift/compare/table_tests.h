// Tests of counts: rows reference and current, one column a distinct value of either.
//   chi2       Pearson's: sum (O - E)^2 / E, df (k - 1); correction=true: Yates for 2 x 2
//   g          likelihood ratio: 2 sum O ln(O / E)
//              mode=goodness_of_fit: E = the reference scaled to current's total, O = current; a
//              category new to the reference is an error there
//   fisher     exact for 2 x 2; the two-sided p sums every table no more probable than the one seen
//              (within 1e-14 relatively); statistic: the sample odds ratio, absent when infinite
//   cramers_v  sqrt(chi2/n / min(r - 1, k - 1)) with Bergsma's bias correction (2013), as
//              deepchecks; bias_correction=false: plain
// Source: SciPy 1.17 chi2_contingency, chisquare, power_divergence, fisher_exact. One category in
// all: statistic 0, p 1, df 0 as SciPy has it. O(n log k); fisher O(n).
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> table_tests();

}  // namespace trimtab::drift
