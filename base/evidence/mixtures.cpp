#include "base/evidence/mixtures.h"

#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <boost/math/special_functions/log1p.hpp>
#include <cmath>
#include <limits>

namespace trimtab::evidence {
namespace {

namespace policies = boost::math::policies;
// Out-of-range arguments give NaN or infinity, which the callers check; nothing is thrown.
using Quiet = policies::policy<policies::domain_error<policies::ignore_error>,
                               policies::pole_error<policies::ignore_error>,
                               policies::overflow_error<policies::ignore_error>,
                               policies::evaluation_error<policies::ignore_error>>;

double log_beta(double a, double b) { return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b); }

double log_incomplete_beta(double a, double b, double x) {
  const double whole = log_beta(a, b);
  return x >= 1.0 ? whole : std::log(boost::math::ibeta(a, b, x, Quiet())) + whole;
}

// ln Gamma(x) - ((x - 1/2) ln x - x + 1/2 ln 2 pi): what Stirling's formula leaves (DLMF 5.11.1).
double stirling_rest(double x) {
  if (x < 10.0) {
    return boost::math::lgamma(x, Quiet()) -
           ((x - 0.5) * std::log(x) - x + 0.5 * std::log(2.0 * M_PI));
  }
  constexpr double kTerms[] = {1.0 / 12, -1.0 / 360,    1.0 / 1260,    -1.0 / 1680,
                               1.0 / 1188, -691.0 / 360360, 1.0 / 156, -3617.0 / 122400};
  double sum = 0.0, power = 1.0 / x;
  for (const double term : kTerms) {
    sum += term * power;
    power /= x * x;
  }
  return sum;
}

// ln Phi(z), also where Phi underflows.
double log_normal_cdf(double z) {
  if (z > -30.0) return std::log(0.5 * std::erfc(-z / std::sqrt(2.0)));
  const double z2 = z * z;
  return -0.5 * z2 - std::log(-z) - 0.5 * std::log(2.0 * M_PI) +
         std::log1p(-1.0 / z2 + 3.0 / (z2 * z2));
}

bool positive(double x) { return x > 0.0 && std::isfinite(x); }

Result<double> best_rho(const Tuning& tuning) {
  if (!positive(tuning.v_opt)) return fail(Code::kInvalid, "v_opt: must be a positive number");
  if (!(tuning.alpha_opt > 0.0 && tuning.alpha_opt < 1.0)) {
    return fail(Code::kInvalid, "alpha_opt: must be in (0, 1)");
  }
  const double log_inverse =
      -std::log(tuning.two_sided ? tuning.alpha_opt : 2.0 * tuning.alpha_opt);
  const double rho = tuning.v_opt / (2.0 * log_inverse + std::log1p(2.0 * log_inverse));
  if (!positive(rho)) return fail(Code::kInvalid, "alpha_opt: must be below 1/2 for one side");
  return rho;
}

}  // namespace

Result<Mixture> Mixture::normal(const Tuning& tuning) {
  TRIMTAB_TRY(const double rho, best_rho(tuning));
  return Mixture(Kind::kNormal, tuning.two_sided, rho);
}

Result<Mixture> Mixture::gamma_exponential(const Tuning& tuning, double c) {
  if (!positive(c)) return fail(Code::kInvalid, "c: must be a positive number");
  if (tuning.two_sided) return fail(Code::kInvalid, "gamma_exponential is one-sided");
  TRIMTAB_TRY(const double rho, best_rho(tuning));
  Mixture mixture(Kind::kGammaExponential, false, rho);
  mixture.c_ = c;
  const double k = rho / (c * c);
  mixture.constant_ = 0.5 * std::log(k) - stirling_rest(k) -
                      std::log(boost::math::gamma_p(k, k, Quiet()));
  return mixture;
}

Result<Mixture> Mixture::beta_binomial(const Tuning& tuning, double g, double h) {
  if (!positive(g) || !positive(h)) return fail(Code::kInvalid, "g, h: must be positive numbers");
  TRIMTAB_TRY(const double rho, best_rho(tuning));
  Mixture mixture(Kind::kBetaBinomial, tuning.two_sided, rho);
  mixture.g_ = g;
  mixture.h_ = h;
  mixture.r_ = std::max(rho - g * h, 1e-3 * g * h);
  const double sum = g + h;
  mixture.constant_ = log_incomplete_beta(mixture.r_ / (g * sum), mixture.r_ / (h * sum),
                                          tuning.two_sided ? 1.0 : h / sum);
  return mixture;
}

double Mixture::log_normal(double s, double v) const {
  const double spread = v + rho_;
  const double two_sided = 0.5 * std::log(rho_ / spread) + s * s / (2.0 * spread);
  if (two_sided_) return two_sided;
  return two_sided + std::log(2.0) + log_normal_cdf(s / std::sqrt(spread));
}

// With k = rho/c^2, K = (v + rho)/c^2 and d = s/c, proposition 9's
//   ln Gamma(K) - ln Gamma(k) + k ln k - K ln(K + d) + ln P(K, K + d) - ln P(k, k) + K + d - k
// by Stirling's formula: terms of size K cancel, and with them what their rounding would leave.
double Mixture::log_gamma_exponential(double s, double v) const {
  const double shape = (v + rho_) / (c_ * c_);
  const double moved = s / c_;
  return constant_ - 0.5 * std::log(shape) + stirling_rest(shape) -
         shape * boost::math::log1pmx(moved / shape, Quiet()) +
         std::log(boost::math::gamma_p(shape, shape + moved, Quiet()));
}

double Mixture::log_beta_binomial(double s, double v) const {
  const double sum = g_ + h_;
  const double a = (r_ + v - g_ * s) / (g_ * sum);
  const double b = (r_ + v + h_ * s) / (h_ * sum);
  if (!(a > 0.0 && b > 0.0)) return std::numeric_limits<double>::quiet_NaN();
  return v / (g_ * h_) * std::log(sum) - (v + h_ * s) / (h_ * sum) * std::log(g_) -
         (v - g_ * s) / (g_ * sum) * std::log(h_) +
         log_incomplete_beta(a, b, two_sided_ ? 1.0 : h_ / sum) - constant_;
}

double Mixture::log_e(double s, double v) const {
  switch (kind_) {
    case Kind::kNormal: return log_normal(s, v);
    case Kind::kGammaExponential: return log_gamma_exponential(s, v);
    case Kind::kBetaBinomial: return log_beta_binomial(s, v);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Result<double> Mixture::bound(double v, double alpha) const {
  if (!positive(v)) return fail(Code::kInvalid, "v: must be a positive number");
  if (!(alpha > 0.0 && alpha < 1.0)) return fail(Code::kInvalid, "alpha: must be in (0, 1)");
  const double threshold = -std::log(alpha);
  if (kind_ == Kind::kNormal && two_sided_) {  // in closed form
    return std::sqrt((v + rho_) * (std::log1p(v / rho_) + 2.0 * threshold));
  }
  double high = kind_ == Kind::kBetaBinomial ? v / g_ : v;
  if (kind_ == Kind::kBetaBinomial) {
    if (log_e(high, v) < threshold) return high;
  } else {
    for (int doubling = 0; doubling < 60 && !(log_e(high, v) > threshold); ++doubling) high *= 2.0;
  }
  if (!(log_e(high, v) >= threshold)) {
    return fail(Code::kInvalid, "the bound is beyond what doubles can tell; is v far from v_opt?");
  }
  double low = 0.0;
  for (int step = 0; step < 200; ++step) {
    const double middle = 0.5 * (low + high);
    if (middle == low || middle == high) break;
    (log_e(middle, v) < threshold ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace trimtab::evidence
