#include "shadow/text/labels.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace trimtab::shadow {

double accuracy(std::span<const std::string> labels, std::span<const std::string> predictions) {
  double right = 0.0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += labels[i] == predictions[i] ? 1.0 : 0.0;
  return right / static_cast<double>(labels.size());
}

double macro_f1(std::span<const std::string> labels, std::span<const std::string> predictions) {
  struct Counts {
    double right = 0.0, labelled = 0.0, predicted = 0.0;
  };
  std::map<std::string, Counts> classes;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    classes[labels[i]].labelled += 1.0;
    classes[predictions[i]].predicted += 1.0;
    if (labels[i] == predictions[i]) classes[labels[i]].right += 1.0;
  }
  double sum = 0.0;
  for (const auto& [name, counts] : classes) {
    sum += 2.0 * counts.right / (counts.labelled + counts.predicted);
  }
  return sum / static_cast<double>(classes.size());
}

double expected_calibration_error(std::span<const double> confidences,
                                  std::span<const double> correct, int bins, EceNorm norm) {
  struct Bin {
    double n = 0.0, confidence = 0.0, right = 0.0;
  };
  std::vector<Bin> filled(static_cast<std::size_t>(bins));
  for (std::size_t i = 0; i < confidences.size(); ++i) {
    auto index = static_cast<std::size_t>(
        std::clamp(std::ceil(confidences[i] * bins) - 1.0, 0.0, bins - 1.0));
    // Edges are numpy.linspace's, i * (1 / bins); the product above may land one bin off.
    const double width = 1.0 / bins;
    if (index > 0 && confidences[i] <= static_cast<double>(index) * width) --index;
    if (index + 1 < filled.size() && confidences[i] > static_cast<double>(index + 1) * width) {
      ++index;
    }
    Bin& bin = filled[index];
    bin.n += 1.0;
    bin.confidence += confidences[i];
    bin.right += correct[i];
  }
  double sum = 0.0, largest = 0.0;
  const double total = static_cast<double>(confidences.size());
  for (const Bin& bin : filled) {
    if (bin.n == 0.0) continue;
    const double gap = std::fabs(bin.right - bin.confidence) / bin.n;
    sum += bin.n / total * (norm == EceNorm::kL2 ? gap * gap : gap);
    largest = std::max(largest, gap);
  }
  if (norm == EceNorm::kMax) return largest;
  return norm == EceNorm::kL2 ? std::sqrt(sum) : sum;
}

}  // namespace trimtab::shadow
