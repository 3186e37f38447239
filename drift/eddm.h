// EDDM: early drift detection, on the distance between errors.
//
// Paper: Baena-Garcia et al., "Early drift detection method", 4th Workshop on Knowledge Discovery
// from Data Streams 2006. With mean m and deviation s (n - 1) of the distances between errors, and
// the largest m + 2 s seen: level = (m + 2 s) / max; warning when level < alpha, drift below beta.
// Variant: River 0.26.1 (n > warm_start and errors > warm_start). Defaults (River's, the paper's):
// warm_start 30, alpha .95, beta .9. Input 1 = error. Memory: 64 bytes.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct EddmParameters {
  std::int64_t warm_start = 30;
  double alpha = 0.95;
  double beta = 0.9;
};

struct EddmState {
  std::int64_t n = 0;
  std::int64_t last_error = 0;
  std::int64_t errors = 0;
  RunningVariance distances;
  double largest = -1.0;
  bool warning = false;  // stands until the next error that says otherwise
};

class Eddm final : public PlainDetector<Eddm, EddmState> {
 public:
  static constexpr std::uint32_t kTag = make_tag("EDDM");
  static constexpr const char* kName = "eddm";
  explicit Eddm(const EddmParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  EddmParameters parameters_;
};

}  // namespace trimtab::drift
