#include "base/evidence/empirical_bernstein_cs.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/json.h"

namespace trimtab::evidence {
namespace {
constexpr double kTruncation = 0.5;
}

Status EmpiricalBernstein::update(double x) {
  if (!(x >= 0.0 && x <= 1.0)) {
    return fail(Code::kInvalid, "empirical_bernstein_cs: a value must be a number in [0, 1]");
  }
  const double i = static_cast<double>(n_ + 1);
  const double variance = (0.25 + sum_squares_) / i;
  const double bet = std::min(
      std::sqrt(-2.0 * std::log(alpha_ / 2.0) / (variance * i * std::log1p(i))), kTruncation);
  const double psi = -std::log1p(-bet) - bet;
  // xbar_{i-1}; before the first value confseq guesses 0, and runs the upper side on 1 - x.
  const double below = n_ == 0 ? 0.0 : sum_x_ / (i - 1.0);
  const double above = n_ == 0 ? 1.0 : below;
  sum_bets_ += bet;
  sum_bet_x_ += bet * x;
  penalty_lower_ += (x - below) * (x - below) * psi;
  penalty_upper_ += (x - above) * (x - above) * psi;
  n_ += 1;
  sum_x_ += x;
  const double mu = (0.5 + sum_x_) / (i + 1.0);
  sum_squares_ += (x - mu) * (x - mu);
  return {};
}

Interval EmpiricalBernstein::interval() const {
  if (n_ == 0) return {};
  const double centre = sum_bet_x_ / sum_bets_;
  const double log_inverse = -std::log(alpha_ / 2.0);
  return {std::clamp(centre - (log_inverse + penalty_lower_) / sum_bets_, 0.0, 1.0),
          std::clamp(centre + (log_inverse + penalty_upper_) / sum_bets_, 0.0, 1.0)};
}

Json EmpiricalBernstein::save() const {
  return {{"alpha", alpha_},
          {"n", n_},
          {"sum_x", sum_x_},
          {"sum_squares", sum_squares_},
          {"sum_bets", sum_bets_},
          {"sum_bet_x", sum_bet_x_},
          {"penalty_lower", penalty_lower_},
          {"penalty_upper", penalty_upper_}};
}

Result<EmpiricalBernstein> EmpiricalBernstein::restore(double alpha, const Json& saved) {
  EmpiricalBernstein made(alpha);
  const auto take = [&](const char* key, auto& into) -> Status {
    TRIMTAB_TRY(into, json_get<std::remove_reference_t<decltype(into)>>(saved, key));
    return {};
  };
  double saved_alpha = 0.0;
  TRIMTAB_CHECK_OK(take("alpha", saved_alpha));
  if (saved_alpha != alpha) {
    return fail(Code::kCorrupt, "empirical_bernstein_cs: saved with another alpha");
  }
  TRIMTAB_CHECK_OK(take("n", made.n_));
  TRIMTAB_CHECK_OK(take("sum_x", made.sum_x_));
  TRIMTAB_CHECK_OK(take("sum_squares", made.sum_squares_));
  TRIMTAB_CHECK_OK(take("sum_bets", made.sum_bets_));
  TRIMTAB_CHECK_OK(take("sum_bet_x", made.sum_bet_x_));
  TRIMTAB_CHECK_OK(take("penalty_lower", made.penalty_lower_));
  TRIMTAB_CHECK_OK(take("penalty_upper", made.penalty_upper_));
  return made;
}

}  // namespace trimtab::evidence
