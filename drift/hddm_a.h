// HDDM_A: Hoeffding bounds on the difference between a cut's mean and the whole mean.
//
// Paper: Frias-Blanco et al., "Online and non-parametric drift detection methods based on
// Hoeffding's bounds", IEEE TKDE 2015. z = mean of all values; x_min the prefix mean with the
// smallest mean + eps, eps(n) = sqrt(ln(1 / drift_confidence) / (2 n)). Drift when
//   z - x_min >= sqrt(m / 2 ln(2 / confidence)),  m = (n_z - n_min) / (n_min n_z).
// Variant: River 0.26.1. Defaults (River's, the paper's): drift_confidence .001,
// warning_confidence .005, two_sided_test false. Input in [0, 1], 1 = error. Memory: 56 bytes.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct HddmAParameters {
  double drift_confidence = 0.001;
  double warning_confidence = 0.005;
  bool two_sided_test = false;
};

struct HddmAState {
  RunningMean all;
  RunningMean low;   // prefix for a rise of the mean
  RunningMean high;  // prefix for a fall
};

class HddmA final : public PlainDetector<HddmA, HddmAState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("HDMA");
  static constexpr const char* kName = "hddm_a";
  explicit HddmA(const HddmAParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  HddmAParameters parameters_;
};

}  // namespace trimtab::drift
