#include "base/evidence/bernoulli_ci.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace trimtab::evidence {
namespace {

double log_beta(double a, double b) { return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b); }

// ln of the two-sided mixture's value for the hypothesis p: a Beta prior with mean p whose spread
// is tuned for intrinsic time v_opt = t_opt p (1 - p), integrated against the likelihood ratio.
double log_mixture(double successes, double n, double p, const BernoulliParams& params) {
  const double q = 1.0 - p;
  const double log_inverse = -std::log(params.alpha_opt);
  const double rho = params.t_opt * p * q / (2.0 * log_inverse + std::log1p(2.0 * log_inverse));
  const double r = std::max(rho - p * q, 1e-3 * p * q);
  const double a = r / q, b = r / p;
  return log_beta(a + successes, b + n - successes) - log_beta(a, b) - successes * std::log(p) -
         (n - successes) * std::log1p(-p);
}

Status check(const BernoulliParams& params) {
  if (!(params.alpha > 0.0 && params.alpha < 1.0)) {
    return fail(Code::kInvalid, "alpha: a number in (0, 1)");
  }
  if (!(params.alpha_opt > 0.0 && params.alpha_opt < 1.0)) {
    return fail(Code::kInvalid, "alpha_opt: a number in (0, 1)");
  }
  if (!(params.t_opt > 0.0) || !std::isfinite(params.t_opt)) {
    return fail(Code::kInvalid, "t_opt: a positive number");
  }
  return {};
}

// The edge of the accepted set between a rejected end and the accepted middle.
template <typename Rejected>
double edge(double outside, double inside, const Rejected& rejected) {
  for (int step = 0; step < 200; ++step) {
    const double middle = 0.5 * (outside + inside);
    if (middle == outside || middle == inside) break;
    (rejected(middle) ? outside : inside) = middle;
  }
  return inside;
}

}  // namespace

Result<Interval> bernoulli_ci(std::uint64_t successes, std::uint64_t n,
                              const BernoulliParams& params) {
  TRIMTAB_CHECK_OK(check(params));
  if (n == 0) return fail(Code::kInvalid, "bernoulli_ci: n must be at least 1");
  if (successes > n) return fail(Code::kInvalid, "bernoulli_ci: more successes than n");
  const double s = static_cast<double>(successes), t = static_cast<double>(n);
  const double threshold = -std::log(params.alpha);
  const auto rejected = [&](double p) { return log_mixture(s, t, p, params) >= threshold; };
  // Never exactly 0 or 1: the mixture is defined inside.
  constexpr double kEdge = 1e-12;
  const double centre = std::clamp(s / t, kEdge, 1.0 - kEdge);
  Interval found{0.0, 1.0};
  if (successes > 0 && rejected(kEdge)) found.lower = edge(kEdge, centre, rejected);
  if (successes < n && rejected(1.0 - kEdge)) found.upper = edge(1.0 - kEdge, centre, rejected);
  return found;
}

Result<Srm> srm(std::span<const std::uint64_t> counts, std::span<const double> shares,
                const BernoulliParams& params) {
  TRIMTAB_CHECK_OK(check(params));
  if (counts.size() != shares.size() || counts.size() < 2) {
    return fail(Code::kInvalid, "srm: as many shares as counts, at least two");
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (const double share : shares) {
    if (!(share > 0.0) || !std::isfinite(sum)) {
      return fail(Code::kInvalid, "srm: shares must be positive numbers");
    }
  }
  Srm found;
  found.n = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  BernoulliParams each = params;
  if (counts.size() > 2) each.alpha /= static_cast<double>(counts.size());
  for (std::size_t k = 0; k < counts.size(); ++k) {
    Interval bound{0.0, 1.0};
    if (found.n > 0) {
      TRIMTAB_TRY(bound, bernoulli_ci(counts[k], found.n, each));
    }
    const double share = shares[k] / sum;
    found.mismatch = found.mismatch || share < bound.lower || share > bound.upper;
    found.bounds.push_back(bound);
    if (counts.size() == 2) break;  // the second arm's interval mirrors the first's
  }
  if (counts.size() == 2) {
    found.bounds.push_back({1.0 - found.bounds[0].upper, 1.0 - found.bounds[0].lower});
  }
  found.lower = found.bounds[0].lower;
  found.upper = found.bounds[0].upper;
  return found;
}

}  // namespace trimtab::evidence
