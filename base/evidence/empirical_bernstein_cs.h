// Empirical-Bernstein confidence sequence for the running mean of values in [0, 1].
//
//     L_t = (sum l_i x_i - ln(2/alpha) - sum v_i psi(l_i)) / sum l_i,   psi(l) = -ln(1 - l) - l
// with v_i = (x_i - xbar_{i-1})^2 and l_i = min(sqrt(2 ln(2/alpha) / (s2_{i-1} i ln(1 + i))), 1/2),
// xbar_0 = 0 (of 1 - x on the upper side), alpha/2 a side, clipped to [0, 1], no running
// intersection. (Howard et al. 2021; confseq's predmix_empbern_twosided_cs with truncation 1/2.)
// O(1) memory. Not thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "base/evidence/hedged_cs.h"
#include "base/result.h"

namespace trimtab::evidence {

class EmpiricalBernstein {
 public:
  // REQUIRES: 0 < alpha < 1.
  explicit EmpiricalBernstein(double alpha = 0.05) : alpha_(alpha) {}
  // kInvalid, and nothing changes, when x is NaN or outside [0, 1].
  [[nodiscard]] Status update(double x);
  // [0, 1] before the first value.
  [[nodiscard]] Interval interval() const;
  [[nodiscard]] std::uint64_t n() const { return n_; }
  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<EmpiricalBernstein> restore(double alpha,
                                                          const nlohmann::json& saved);

 private:
  double alpha_;
  std::uint64_t n_ = 0;
  double sum_x_ = 0, sum_squares_ = 0;  // for mu_i, s2_i (regularized)
  double sum_bets_ = 0, sum_bet_x_ = 0, penalty_lower_ = 0, penalty_upper_ = 0;  // for the bounds
};

}  // namespace trimtab::evidence
