// GLR-CUSUM: generalized likelihood ratio for a change of the mean, over a window of change points.
//
// Paper: Siegmund, Venkatraman, "Using the generalized likelihood ratio statistic for sequential
// detection of a change-point", Annals of Statistics 1995. z = (x - m) / s with m and s (n - 1) of
// the first min_instances values; over the last `window` later values
//   G = max over k of (sum of the last k z)^2 / (2 k); drift when G >= threshold.
// Variant: this formula (vectors/PARAMETERS.md pins it). Defaults: min_instances 50, window 200,
// threshold 12. A constant warm-up has s = 0: a later value off the mean is drift at once.
// Memory: 8 bytes a value of the window + 64; cost grows with the window.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct GlrCusumParameters {
  std::int64_t min_instances = 50;
  std::int64_t window = 200;
  double threshold = 12.0;
};

class GlrCusum final : public Detector {
 public:
  explicit GlrCusum(const GlrCusumParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  struct Scale {
    RunningVariance warm_up;
    double statistic = 0.0;  // of the last update
  };
  GlrCusumParameters parameters_;
  SlidingWindow<double> window_;  // z
  Scale scale_;
};

}  // namespace trimtab::drift
