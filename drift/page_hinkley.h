// Page-Hinkley: the cumulated deviation from the running mean, compared with its own extreme.
//
// Paper: Page, "Continuous inspection schemes", Biometrika 1954. With m the running mean, x
// included, and d = x - m:
//   up = alpha up + d - delta,  down = alpha down + d + delta,
//   drift when up - min(up) > threshold or max(down) - down > threshold, from min_instances on.
// Variant: River 0.26.1's two sums; min(up) starts at +infinity, max(down) at -1. Not the
// max(0, ..) form of scikit-multiflow and Frouros (one event later on some streams).
// Defaults (River's): min_instances 30, delta .005, threshold 50, alpha .9999, mode both.
// Memory: 48 bytes besides the parameters.
// Example: streams/num_abrupt (mean 0 -> 1 at 1000): detections at 633 and 1025.
#pragma once

#include <cstdint>
#include <limits>

#include "drift/detector.h"

namespace trimtab::drift {

enum class Direction : std::uint8_t { kUp, kDown, kBoth };

struct PageHinkleyParameters {
  std::int64_t min_instances = 30;
  double delta = 0.005;
  double threshold = 50.0;
  double alpha = 0.9999;
  Direction mode = Direction::kBoth;
};

class PageHinkley final : public Detector {
 public:
  explicit PageHinkley(const PageHinkleyParameters& parameters) : parameters_(parameters) {}
  Verdict update(double x) override;
  void reset() override { sums_ = {}; }
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override { return sizeof(*this); }

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  struct Sums {
    std::int64_t n = 0;
    double mean = 0.0;
    double up = 0.0;
    double down = 0.0;
    double min_up = std::numeric_limits<double>::infinity();
    double max_down = -1.0;
  };
  PageHinkleyParameters parameters_;
  Sums sums_;
};

}  // namespace trimtab::drift
