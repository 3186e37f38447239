// BOCD: Bayesian online changepoint detection, Gaussian data with unknown mean and known variance.
//
// Paper: Adams, MacKay, "Bayesian online changepoint detection", arXiv:0710.3742, 2007. For every
// run length r: posterior mean and precision of the mean, joint log-probability
//   growth: log p(r + 1) = log p(r) + log N(x; mean_r, 1/precision_r + data_var) + log(1 - hazard),
//   change: log p(0) = logsumexp over r (log p(r) + log N(..) + log hazard).
// Drift when, from min_num_instances on, the most probable run length is not the full one.
// Variant: Frouros 0.9.0. Defaults (Frouros'): prior_mean 0, prior_var 1, data_var 1, hazard .01,
// min_num_instances 30.
// Memory: bounded. Of the run lengths other than the full one the most probable 2,048 are kept; one
// that falls below e^-60 of the largest is dropped (both far below what can change the argmax).
// 24 bytes a kept run length; cost grows with their number.
#pragma once

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct BocdParameters {
  double prior_mean = 0.0;
  double prior_var = 1.0;
  double data_var = 1.0;
  double hazard = 0.01;
  std::int64_t min_num_instances = 30;
};

class Bocd final : public Detector {
 public:
  explicit Bocd(const BocdParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  struct Run {
    double log_joint;
    double mean;
    double precision;
  };
  void prune();

  BocdParameters parameters_;
  std::int64_t n_ = 0;
  std::vector<Run> runs_;  // longest first: runs_[0] is the full one
};

}  // namespace trimtab::drift
