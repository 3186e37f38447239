// CUSUM: tabular cumulative sums of the deviations from a frozen mean, in units of its deviation.
//
// Paper: Page, "Continuous inspection schemes", Biometrika 1954. With mean m and standard deviation
// s (n - 1) of the first min_instances values, the last of them tested too:
//   up = max(0, up + (x - m) - slack s),  down = max(0, down - (x - m) - slack s),
//   drift when a sum exceeds threshold s.
// Variant: River's main branch (newer than 0.26.1). Defaults (River's, the textbook's for unit
// variance): min_instances 30, slack .5, threshold 5, mode both.
// Memory: 64 bytes. Example: streams/num_abrupt: detections at 534, 1006, 1080, 1176, 1248.
#pragma once

#include "drift/page_hinkley.h"  // Direction
#include "drift/plain_detector.h"

namespace trimtab::drift {

struct CusumParameters {
  std::int64_t min_instances = 30;
  double slack = 0.5;
  double threshold = 5.0;
  Direction mode = Direction::kBoth;
};

struct CusumState {
  RunningVariance warm_up;
  double mean = 0.0;   // frozen
  double sigma = 0.0;  // frozen
  bool frozen = false;
  double up = 0.0;
  double down = 0.0;
};

class Cusum final : public PlainDetector<Cusum, CusumState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("CUSM");
  static constexpr const char* kName = "cusum";
  explicit Cusum(const CusumParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  CusumParameters parameters_;
};

}  // namespace trimtab::drift
