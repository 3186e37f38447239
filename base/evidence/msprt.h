// Mixture sequential probability ratio test for two normal means, one pair (x, y) at a time.
//
// Differences y - x have variance V = 2 sigma^2; the alternative's mean is mixed over N(0, tau^2):
//     E_n = sqrt(V/(V + n tau^2)) exp((sum d)^2 tau^2 / (2 V (V + n tau^2)))
// (Johari, Koomen, Pekelis, Walsh 2017). tau may be tuned to a horizon of N pairs:
//     b = 2 ln(1/alpha)/sqrt(N sigma^2),  tau^2 = sigma^2 Phi(-b)/(phi(b)/b - Phi(-b)).
// O(1) memory. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace trimtab::evidence {

// kInvalid when an argument is not positive, or alpha not in (0, 1).
[[nodiscard]] Result<double> msprt_tuned_tau(double sigma, double alpha, double horizon);

class Msprt {
 public:
  // kInvalid when sigma or tau is not positive, or alpha not in (0, 1).
  [[nodiscard]] static Result<Msprt> make(double sigma, double tau, double alpha);
  // kInvalid, and nothing changes, on NaN or infinity.
  [[nodiscard]] Status update(double x, double y);
  [[nodiscard]] std::uint64_t n() const { return n_; }
  [[nodiscard]] double log_e() const { return log_e_; }
  // 1 / the largest E so far, at most 1: valid at any look.
  [[nodiscard]] double p_value() const;
  // First 0-based index with E >= 1/alpha.
  [[nodiscard]] std::optional<std::uint64_t> crossed_at() const { return crossed_at_; }

 private:
  Msprt(double variance, double tau2, double log_threshold)
      : variance_(variance), tau2_(tau2), log_threshold_(log_threshold) {}
  double variance_, tau2_, log_threshold_;
  std::uint64_t n_ = 0;
  double sum_ = 0.0, log_e_ = 0.0, max_log_e_ = 0.0;
  std::optional<std::uint64_t> crossed_at_;
};

}  // namespace trimtab::evidence
