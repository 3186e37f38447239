// Can a classifier tell the two samples apart? The statistic is the area under the ROC curve, mean
// over `folds` stratified folds, each scored by a model that never saw it: .5 when it cannot.
// Classifier: logistic regression on the standardized columns and their squares (so that changes of
// location and of spread both show), ridge penalty `ridge` a row, fitted by Newton with conjugate
// gradients. Lopez-Paz and Oquab 2017; NannyML's domain classifier uses boosted trees.
// Deterministic for a seed. O(n d) a step.
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> classifier_tests();

}  // namespace trimtab::drift
