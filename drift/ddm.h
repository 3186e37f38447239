// DDM: drift detection method, for an error stream.
//
// Paper: Gama, Medas, Castillo, Rodrigues, "Learning with drift detection", SBIA 2004. p = error
// rate, s = sqrt(p (1 - p) / n); the smallest p + s seen (p_min, s_min) is the reference:
//   warning when p + s > p_min + warning_threshold s_min, drift at drift_threshold.
// Variant: River 0.26.1 (tests when n > warm_start; the minimum is updated with <=). Defaults
// (River's, the paper's): warm_start 30, 2, 3. Input 1 = error. Memory: 40 bytes.
#pragma once

#include <limits>

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct DdmParameters {
  std::int64_t warm_start = 30;
  double warning_threshold = 2.0;
  double drift_threshold = 3.0;
};

struct DdmState {
  RunningMean p;
  double p_min = 0.0;
  double s_min = 0.0;
  double ps_min = std::numeric_limits<double>::infinity();
};

class Ddm final : public PlainDetector<Ddm, DdmState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("DDM_");
  static constexpr const char* kName = "ddm";
  explicit Ddm(const DdmParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  DdmParameters parameters_;
};

}  // namespace trimtab::drift
