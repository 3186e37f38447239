// Rank tests: Mann-Whitney, Cramer-von Mises, Anderson-Darling; SciPy's variants with midranks.
#pragma once

#include "drift/compare/comparison.h"

namespace trimtab::drift {

// U of the reference. kAuto: exact when a sample has at most 8 values and there are no ties;
// asymptotic: ties and continuity corrected. All values equal: p = 1. REQUIRES: not empty.
[[nodiscard]] Comparison mann_whitney(Sample reference, Sample current, Alternative alternative,
                                      Method method);
// kAuto: exact up to 20 a side. kInvalid: fewer than two values in a sample, or kExact with more
// than 40 values a side.
[[nodiscard]] Result<Comparison> cramer_von_mises(Sample reference, Sample current, Method method);
// Normalized statistic; p interpolated and kept within [.001, .25]. kInvalid: one distinct value.
[[nodiscard]] Result<Comparison> anderson_darling(Sample reference, Sample current);

}  // namespace trimtab::drift
