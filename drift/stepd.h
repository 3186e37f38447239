// STEPD: the recent accuracy against the accuracy before, by a test of equal proportions.
//
// Paper: Nishida, Yamauchi, "Detecting concept drift using statistical testing", Discovery Science
// 2007. With r_o of n_o correct before the window and r_w of n_w in it, p the pooled share:
//   T = (|r_o / n_o - r_w / n_w| - .5 (1 / n_o + 1 / n_w)) / sqrt(p (1 - p) (1 / n_o + 1 / n_w)),
//   P = 1 - Phi(|T|); drift when P < alpha_d, warning when P < alpha_w.
// Variant: Frouros 0.9.0: two windows from 2 min_num_instances values on; the absolute statistic,
// so it also reacts to improvement. Defaults (Frouros'): alpha_d .003, alpha_w .05,
// min_num_instances 30 (the window). Input 1 = correct. Memory: 1 byte a value of the window + 24.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct StepdParameters {
  double alpha_d = 0.003;
  double alpha_w = 0.05;
  std::int64_t min_num_instances = 30;
};

class Stepd final : public Detector {
 public:
  explicit Stepd(const StepdParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  struct Counts {
    std::int64_t n = 0;
    std::int64_t correct = 0;
    std::int64_t correct_in_window = 0;
  };
  StepdParameters parameters_;
  SlidingWindow<std::uint8_t> window_;
  Counts counts_;
};

}  // namespace trimtab::drift
