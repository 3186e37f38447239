#include "base/evidence/hedged_cs.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace trimtab::evidence {
namespace {

struct Bet {
  double x;
  double upper;  // uncapped bet of K+
  double lower;  // uncapped bet of K-
};

std::vector<Bet> predictable_bets(std::span<const double> x, double alpha_up, double alpha_down) {
  std::vector<Bet> bets;
  bets.reserve(x.size());
  const double up = std::sqrt(-2.0 * std::log(alpha_up));
  const double down = std::sqrt(-2.0 * std::log(alpha_down));
  double sum = 0.0, squares = 0.0, i = 1.0;
  for (const double value : x) {
    const double variance = (0.25 + squares) / i;
    const double root = 1.0 / std::sqrt(i * std::log1p(i) * variance);
    bets.push_back({value, up * root, down * root});
    sum += value;
    const double mu = (0.5 + sum) / (i + 1.0);
    squares += (value - mu) * (value - mu);
    i += 1.0;
  }
  return bets;
}

// ln K+(m), falling in m: every factor is.
double log_up(const std::vector<Bet>& bets, double m, double c) {
  double sum = 0.0;
  for (const Bet& bet : bets) {
    const double lambda = m > 0.0 ? std::min(bet.upper, c / m) : bet.upper;
    sum += std::log1p(lambda * (bet.x - m));
  }
  return sum;
}
// ln K-(m), growing in m.
double log_down(const std::vector<Bet>& bets, double m, double c) {
  double sum = 0.0;
  for (const Bet& bet : bets) {
    const double lambda = m < 1.0 ? std::min(bet.lower, c / (1.0 - m)) : bet.lower;
    sum += std::log1p(-lambda * (bet.x - m));
  }
  return sum;
}

// Where a monotone function passes zero; `rejected(0 side)` is true at `bad`, false at `good`.
template <typename Rejected>
double boundary(double bad, double good, const Rejected& rejected) {
  for (int step = 0; step < 200; ++step) {
    const double middle = 0.5 * (bad + good);
    if (middle == bad || middle == good) break;
    (rejected(middle) ? bad : good) = middle;
  }
  return good;
}

}  // namespace

Result<Interval> hedged_cs(std::span<const double> x, const HedgedParams& params) {
  for (const double value : {params.alpha, params.theta, params.c}) {
    if (!(value > 0.0 && value < 1.0)) {
      return fail(Code::kInvalid, "hedged_cs: alpha, theta and c are numbers in (0, 1)");
    }
  }
  if (x.empty()) return fail(Code::kInvalid, "hedged_cs: no values");
  for (const double value : x) {
    if (!(value >= 0.0 && value <= 1.0)) {
      return fail(Code::kInvalid, "hedged_cs: values must be numbers in [0, 1]");
    }
  }
  const double alpha_up = params.alpha * params.theta;
  const double alpha_down = params.alpha * (1.0 - params.theta);
  const auto bets = predictable_bets(x, alpha_up, alpha_down);
  const auto too_low = [&](double m) { return log_up(bets, m, params.c) >= -std::log(alpha_up); };
  const auto too_high = [&](double m) {
    return log_down(bets, m, params.c) >= -std::log(alpha_down);
  };
  Interval found;
  if (too_low(0.0)) found.lower = boundary(0.0, 1.0, too_low);
  if (too_high(1.0)) found.upper = boundary(1.0, 0.0, too_high);
  if (found.lower > found.upper) {
    // Nothing survives: the bounds have crossed; between them both games reject.
    const double middle = boundary(0.0, 1.0, [&](double m) {
      return log_up(bets, m, params.c) > log_down(bets, m, params.c);
    });
    found = {middle, middle};
  }
  return found;
}

}  // namespace trimtab::evidence
