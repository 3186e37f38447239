// Epps and Singleton 1986: compares empirical characteristic functions at t = (.4, .8) / (half the
// interquartile range of both samples pooled); also for discrete data. w = n d' C^+ d with d the
// difference of the means of (cos, sin), C their covariance; chi-squared with rank(C) degrees;
// small-sample factor of Goerg and Kaiser 2009 when both sides have fewer than 25 values. SciPy
// epps_singleton_2samp. Fewer than 5 values a side, or an interquartile range of 0: an error. O(n).
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> epps_singleton_tests();

}  // namespace trimtab::drift
