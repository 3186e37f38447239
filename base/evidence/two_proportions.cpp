#include "base/evidence/two_proportions.h"

#include <cmath>
#include <string>

namespace trimtab::evidence {
namespace {

// ln of theta^successes (1 - theta)^failures against the same with theta0.
double log_ratio(double theta, double theta0, double successes, double block) {
  return successes * std::log(theta / theta0) +
         (block - successes) * std::log((1.0 - theta) / (1.0 - theta0));
}

}  // namespace

Result<TwoProportions> TwoProportions::make(const TwoProportionsParams& params) {
  if (params.block_a < 1 || params.block_b < 1) {
    return fail(Code::kInvalid, "two_proportions: a block has at least one unit an arm");
  }
  if (!(params.prior > 0.0) || !std::isfinite(params.prior)) {
    return fail(Code::kInvalid, "two_proportions: prior must be a positive number");
  }
  if (!(params.alpha > 0.0 && params.alpha < 1.0)) {
    return fail(Code::kInvalid, "two_proportions: alpha must be in (0, 1)");
  }
  return TwoProportions(params);
}

Status TwoProportions::update(std::int64_t successes_a, std::int64_t successes_b) {
  if (successes_a < 0 || successes_a > params_.block_a || successes_b < 0 ||
      successes_b > params_.block_b) {
    return fail(Code::kInvalid, "successes must be from 0 to the block's size (" +
                                    std::to_string(params_.block_a) + ", " +
                                    std::to_string(params_.block_b) + ")");
  }
  const double block_a = static_cast<double>(params_.block_a);
  const double block_b = static_cast<double>(params_.block_b);
  const double blocks = static_cast<double>(blocks_);
  const double theta_a = (successes_a_ + params_.prior) / (blocks * block_a + 2.0 * params_.prior);
  const double theta_b = (successes_b_ + params_.prior) / (blocks * block_b + 2.0 * params_.prior);
  const double theta0 = (block_a * theta_a + block_b * theta_b) / (block_a + block_b);
  const double a = static_cast<double>(successes_a), b = static_cast<double>(successes_b);
  log_e_ += log_ratio(theta_a, theta0, a, block_a) + log_ratio(theta_b, theta0, b, block_b);
  successes_a_ += a;
  successes_b_ += b;
  if (!crossed_at_ && log_e_ >= -std::log(params_.alpha)) crossed_at_ = blocks_;
  ++blocks_;
  return {};
}

}  // namespace trimtab::evidence
