// HDDM_W: McDiarmid bounds on the difference between two exponentially weighted means.
//
// Paper: Frias-Blanco et al., "Online and non-parametric drift detection methods based on
// Hoeffding's bounds", IEEE TKDE 2015. Each sample keeps an EWMA (weight lambda_val) and the sum of
// squared weights b = lambda^2 + (1 - lambda)^2 b (from 1). The cut for a rise is where
// ewma + eps was smallest, eps = sqrt(b ln(1 / drift_confidence) / 2); values after it form the
// second sample. Drift when ewma_2 - ewma_1 > sqrt((b_1 + b_2) ln(1 / confidence) / 2).
// Variant: River 0.26.1. Defaults (River's): drift_confidence .001, warning_confidence .005,
// lambda_val .05, two_sided_test false. Input in [0, 1], 1 = error. Memory: 136 bytes.
#pragma once

#include <limits>

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct HddmWParameters {
  double drift_confidence = 0.001;
  double warning_confidence = 0.005;
  double lambda_val = 0.05;
  bool two_sided_test = false;
};

struct HddmWState {
  struct Sample {
    FadingMean ewma;
    double bound = 1.0;    // b
    std::int64_t any = 0;  // 0 or 1; 64 bits: no padding, equal states save equal bytes
    void update(double x, double lambda) {
      ewma.update(x, lambda);
      bound = lambda * lambda + (1.0 - lambda) * (1.0 - lambda) * bound;
      any = 1;
    }
  };
  Sample all, rise_before, rise_after, fall_before, fall_after;
  double rise_cut = std::numeric_limits<double>::infinity();
  double fall_cut = -std::numeric_limits<double>::infinity();
};

class HddmW final : public PlainDetector<HddmW, HddmWState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("HDMW");
  static constexpr const char* kName = "hddm_w";
  explicit HddmW(const HddmWParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  HddmWParameters parameters_;
};

}  // namespace trimtab::drift
