// ECDD: EWMA chart for a Bernoulli error stream, with a promised average run length.
//
// Paper: Ross, Adams, Tasoulis, Hand, "Exponentially weighted moving average charts for detecting
// concept drift", Pattern Recognition Letters 2012. p = running mean, z = EWMA (from 0):
//   s_z^2 = lambda / (2 - lambda) (1 - (1 - lambda)^(2 n)) p (1 - p),
//   drift when z > p + L(p) s_z, warning at warning_level L; L is the paper's polynomial for the
//   average run length 100, 400 or 1000 (lambda .2).
// Variant: Frouros 0.9.0 ECDDWT. Defaults (Frouros'): lambda .2, average_run_length 400,
// warning_level .5, min_num_instances 30. Input 1 = error. Memory: 24 bytes.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct EcddParameters {
  double lambda = 0.2;
  std::int64_t average_run_length = 400;
  double warning_level = 0.5;
  std::int64_t min_num_instances = 30;
};

struct EcddState {
  RunningMean p;
  double z = 0.0;
};

class Ecdd final : public PlainDetector<Ecdd, EcddState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("ECDD");
  static constexpr const char* kName = "ecdd";
  explicit Ecdd(const EcddParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  EcddParameters parameters_;
};

}  // namespace trimtab::drift
