// Mixture supermartingales of confseq: the evidence in a sum S that has used up intrinsic time V,
// and the boundary at which that evidence reaches 1/alpha, valid at all times at once.
//
// Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
// sequences", Annals of Statistics 2021, propositions 5 to 9 and section 3.5 (how rho is chosen).
//     normal            sub-Gaussian sums, one- or two-sided
//     gamma_exponential sub-exponential sums with scale c, one-sided
//     beta_binomial     sums bounded by -g below and h above, one- or two-sided
// Pure functions of their parameters.
#pragma once

#include "base/result.h"

namespace trimtab::evidence {

// When the mixture is tightest: at intrinsic time v_opt, for level alpha_opt.
struct Tuning {
  double v_opt = 100.0;
  double alpha_opt = 0.05;
  bool two_sided = false;
};

class Mixture {
 public:
  // All kInvalid when a parameter is not positive and finite, or alpha_opt leaves no rho > 0.
  [[nodiscard]] static Result<Mixture> normal(const Tuning& tuning);
  [[nodiscard]] static Result<Mixture> gamma_exponential(const Tuning& tuning, double c);
  [[nodiscard]] static Result<Mixture> beta_binomial(const Tuning& tuning, double g, double h);

  // Natural logarithm of the supermartingale at sum s and intrinsic time v > 0. NaN where it is
  // not defined (beta_binomial outside [-v/h, v/g]).
  [[nodiscard]] double log_e(double s, double v) const;
  // The s > 0 at which log_e reaches ln(1/alpha); beta_binomial: at most v/g, the largest sum
  // there can be. kInvalid when v or alpha is out of range, or no such s exists.
  [[nodiscard]] Result<double> bound(double v, double alpha) const;
  [[nodiscard]] double rho() const { return rho_; }

 private:
  enum class Kind { kNormal, kGammaExponential, kBetaBinomial };
  Mixture(Kind kind, bool two_sided, double rho) : kind_(kind), two_sided_(two_sided), rho_(rho) {}
  [[nodiscard]] double log_normal(double s, double v) const;
  [[nodiscard]] double log_gamma_exponential(double s, double v) const;
  [[nodiscard]] double log_beta_binomial(double s, double v) const;

  Kind kind_;
  bool two_sided_;
  double rho_;
  double c_ = 0.0;                      // gamma_exponential
  double g_ = 0.0, h_ = 0.0, r_ = 0.0;  // beta_binomial
  double constant_ = 0.0;               // the prior's normalizer, logarithm
};

}  // namespace trimtab::evidence
