#include "base/evidence/msprt.h"

#include <algorithm>
#include <cmath>

namespace trimtab::evidence {
namespace {

bool positive(double x) { return x > 0.0 && std::isfinite(x); }

}  // namespace

Result<double> msprt_tuned_tau(double sigma, double alpha, double horizon) {
  if (!positive(sigma) || !positive(horizon) || !(alpha > 0.0 && alpha < 1.0)) {
    return fail(Code::kInvalid, "msprt: sigma and tune must be positive, alpha in (0, 1)");
  }
  const double b = -2.0 * std::log(alpha) / (std::sqrt(horizon) * sigma);
  const double tail = 0.5 * std::erfc(b / std::sqrt(2.0));
  const double density = std::exp(-0.5 * b * b) / std::sqrt(2.0 * M_PI);
  const double tau = sigma * std::sqrt(tail / (density / b - tail));
  if (!positive(tau)) return fail(Code::kInvalid, "msprt: tune is too small for this alpha");
  return tau;
}

Result<Msprt> Msprt::make(double sigma, double tau, double alpha) {
  if (!positive(sigma) || !positive(tau) || !(alpha > 0.0 && alpha < 1.0)) {
    return fail(Code::kInvalid, "msprt: sigma and tau must be positive, alpha in (0, 1)");
  }
  return Msprt(2.0 * sigma * sigma, tau * tau, -std::log(alpha));
}

Status Msprt::update(double x, double y) {
  if (!std::isfinite(x) || !std::isfinite(y)) {
    return fail(Code::kInvalid, "msprt: a pair must be two finite numbers");
  }
  sum_ += y - x;
  const double n = static_cast<double>(n_ + 1);
  const double spread = variance_ + n * tau2_;
  log_e_ = 0.5 * std::log(variance_ / spread) + sum_ * sum_ * tau2_ / (2.0 * variance_ * spread);
  max_log_e_ = std::max(max_log_e_, log_e_);
  if (!crossed_at_ && log_e_ >= log_threshold_) crossed_at_ = n_;
  ++n_;
  return {};
}

double Msprt::p_value() const { return std::exp(-max_log_e_); }

}  // namespace trimtab::evidence
