// EWMA: control chart of an exponentially weighted mean against the running mean.
//
// Paper: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1959.
//   z = alpha x + (1 - alpha) z (z starts at the first x); m = running mean;
//   s^2 = EWMA(x^2) - EWMA(x)^2 with the same alpha;
//   limit = threshold s sqrt(alpha / (2 - alpha) (1 - (1 - alpha)^(2 n))); drift when z leaves m +-
//   limit.
// Variant: River's main branch (newer than 0.26.1). Defaults (River's): alpha .1, threshold 4,
// min_instances 30, mode both. Memory: 48 bytes. Example: streams/num_abrupt: detection at 1013.
#pragma once

#include "drift/page_hinkley.h"  // Direction
#include "drift/plain_detector.h"

namespace trimtab::drift {

struct EwmaParameters {
  double alpha = 0.1;
  double threshold = 4.0;
  std::int64_t min_instances = 30;
  Direction mode = Direction::kBoth;
};

struct EwmaState {
  RunningMean mean;
  double z = 0.0;
  FadingMean fading;          // of x
  FadingMean fading_squares;  // of x^2
};

class Ewma final : public PlainDetector<Ewma, EwmaState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("EWMA");
  static constexpr const char* kName = "ewma";
  explicit Ewma(const EwmaParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  EwmaParameters parameters_;
};

}  // namespace trimtab::drift
