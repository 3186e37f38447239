// FHDDM: a sliding window's mean against the largest it has had, by Hoeffding's bound.
//
// Paper: Pesaranghader, Viktor, "Fast Hoeffding drift detection method for evolving data streams",
// ECML PKDD 2016; short window: the stacked variant FHDDMS. u = mean of the last window; drift when
// max(u) - u > sqrt(ln(1 / confidence_level) / (2 window)).
// Variant: River 0.26.1: the input is 1 = error, yet the maximum of the mean is tracked, so it
// reacts to a *fall* of the mean. Defaults (River's): sliding_window_size 100, confidence_level
// 1e-6, short_window_size none. Memory: 1 byte a value of the window + 40.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct FhddmParameters {
  std::int64_t sliding_window_size = 100;
  double confidence_level = 1e-6;
  std::int64_t short_window_size = 0;  // 0: none
};

class Fhddm final : public Detector {
 public:
  explicit Fhddm(const FhddmParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  struct Maxima {
    std::int64_t ones = 0;
    std::int64_t short_ones = 0;
    double largest = 0.0;
    double short_largest = 0.0;
  };
  FhddmParameters parameters_;
  SlidingWindow<std::uint8_t> window_;
  Maxima maxima_;
};

}  // namespace trimtab::drift
