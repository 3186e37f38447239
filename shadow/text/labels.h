// Predictions against labels: accuracy, macro F1, expected calibration error. In 0..1. Pure.
#pragma once

#include <span>
#include <string>

#include "base/result.h"

namespace trimtab::shadow {

// REQUIRES: equally many labels and predictions, at least one.
[[nodiscard]] double accuracy(std::span<const std::string> labels,
                              std::span<const std::string> predictions);
// Mean F1 over the labels seen on either side, 0 where undefined (scikit-learn's f1_score).
[[nodiscard]] double macro_f1(std::span<const std::string> labels,
                              std::span<const std::string> predictions);

enum class EceNorm { kL1, kL2, kMax };

// |share correct - mean confidence| over equally wide bins (lo, hi], weighted by the bin's share
// (l1), the root of its weighted square (l2), or the largest (max). REQUIRES: confidences in
// [0, 1], as many as `correct`, at least one; bins >= 1.
[[nodiscard]] double expected_calibration_error(std::span<const double> confidences,
                                                std::span<const double> correct, int bins,
                                                EceNorm norm);

}  // namespace trimtab::shadow
