// GMA: geometric moving average of the deviations from the running mean.
//
// Paper: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1959.
//   s = alpha s + (1 - alpha) (x - m), m the running mean, x included; drift when s > lambda.
// Variant: Frouros 0.9.0 GeometricMovingAverage. Defaults (Frouros'): alpha .99, lambda 1,
// min_num_instances 30. One-sided: it reacts to a rise. Memory: 24 bytes.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct GmaParameters {
  double alpha = 0.99;
  double lambda = 1.0;
  std::int64_t min_num_instances = 30;
};

struct GmaState {
  RunningMean mean;
  double sum = 0.0;
};

class Gma final : public PlainDetector<Gma, GmaState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("GMAV");
  static constexpr const char* kName = "gma";
  explicit Gma(const GmaParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  GmaParameters parameters_;
};

}  // namespace trimtab::drift
