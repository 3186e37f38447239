// The grid of bets was chosen by simulation at alpha .05, margin .02, D in {-1, 0, 1} with 70 %
// ties (6,000 runs each, median pairs; tests/base/evidence/paired_betting_sim_test.cpp measures
// them again): non-inferior at D = +.05 332 (a plain grid 407, predmix 445), superior 586 (741,
// 1051), non-inferior at D = +.02 956 (1174, 2094). The weights favour bets near .35 to .5, where
// such effects are best bought; .1 serves tiny effects, 1.7 answers that nearly always tie. All
// bets are below 1/m for every m in (0, .5], and below 1/(1 - m) while margin < .17; larger margins
// scale the harm bets down (side_bet), so that no factor is ever negative.
#include "base/evidence/paired_betting.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "base/json.h"

namespace trimtab::evidence {
namespace {

constexpr std::array<double, kGridSize> kGridBets = {0.1, 0.2, 0.35, 0.5, 0.8, 1.7};
constexpr std::array<double, kGridSize> kGridWeights = {0.8, 2.0, 4.0, 4.0, 1.0, 0.6};
constexpr double kGridWeightSum = 12.4;
// A bet that can lose everything ends its own capital: keep a little.
constexpr double kLargestLoss = 0.98;

bool in_open_unit(double value) { return value > 0.0 && value < 1.0; }

double side_bet(double bet, double worst) { return std::min(bet, kLargestLoss / worst); }

// ln of the weighted mean of exp(log_wealth).
double log_mean(const std::array<double, kGridSize>& log_wealth) {
  const double top = *std::max_element(log_wealth.begin(), log_wealth.end());
  double sum = 0.0;
  for (std::size_t k = 0; k < kGridSize; ++k) {
    sum += kGridWeights[k] / kGridWeightSum * std::exp(log_wealth[k] - top);
  }
  return top + std::log(sum);
}

Json capital_json(const Capital& capital) {
  Json json = {{"log_e", capital.log_e}, {"max_log_e", capital.max_log_e}};
  json["crossed_at"] = capital.crossed_at ? Json(*capital.crossed_at) : Json(nullptr);
  return json;
}

}  // namespace

std::string_view bets_name(Bets bets) { return bets == Bets::kGrid ? "grid" : "predmix"; }

Result<Bets> parse_bets(std::string_view name) {
  if (name == "grid") return Bets::kGrid;
  if (name == "predmix") return Bets::kPredmix;
  return fail(Code::kInvalid, "bets '" + std::string(name) + "': use grid or predmix");
}

Status validate(const PairedBettingParams& params) {
  if (!in_open_unit(params.alpha)) return fail(Code::kInvalid, "alpha: a number in (0, 1)");
  if (!in_open_unit(params.alpha_harm)) {
    return fail(Code::kInvalid, "alpha_harm: a number in (0, 1)");
  }
  if (!(params.margin >= 0.0 && params.margin < 1.0)) {
    return fail(Code::kInvalid, "margin: a number in [0, 1)");
  }
  if (!in_open_unit(params.c)) return fail(Code::kInvalid, "c: a number in (0, 1)");
  if (!(params.reach >= 1.0 && params.reach <= 4.0)) {
    return fail(Code::kInvalid, "reach: a number in [1, 4]");
  }
  return {};
}

PairedBetting::PairedBetting(const PairedBettingParams& params) : params_(params) {
  CHECK(validate(params), "parameters must be validated first");
  const double m_margin = (1.0 - params.margin) / 2.0;
  const auto side = [&](double m, double direction, double alpha) {
    Side made;
    made.m = m;
    made.direction = direction;
    made.log_threshold = -std::log(alpha);
    made.log_inverse_alpha = -std::log(alpha);
    made.worst = (direction > 0 ? m : 1.0 - m) + (params.reach - 1.0) / 2.0;
    made.cap = params.c / made.worst;
    return made;
  };
  non_inferior_ = side(m_margin, 1.0, params.alpha);
  superior_ = side(0.5, 1.0, params.alpha);
  harm_ = side(m_margin, -1.0, params.alpha_harm);
}

void PairedBetting::bet(Side& side, double x, double predmix_root) {
  const double gain = side.direction * (x - side.m);
  if (params_.bets == Bets::kPredmix) {
    const double wanted = std::sqrt(2.0 * side.log_inverse_alpha) * predmix_root;
    side.capital.log_e += std::log1p(std::min(wanted, side.cap) * gain);
  } else {
    for (std::size_t k = 0; k < kGridSize; ++k) {
      side.log_wealth[k] += std::log1p(side_bet(kGridBets[k], side.worst) * gain);
    }
    side.capital.log_e = log_mean(side.log_wealth);
  }
  side.capital.max_log_e = std::max(side.capital.max_log_e, side.capital.log_e);
  if (!side.capital.crossed_at && side.capital.log_e >= side.log_threshold) {
    side.capital.crossed_at = n_;
  }
}

Status PairedBetting::update(double d) {
  if (!(d >= -params_.reach && d <= params_.reach)) {
    return fail(Code::kInvalid, "D must be a number in [-1, 1]: leave a missing pair out");
  }
  const double x = (d + 1.0) / 2.0;
  const double i = static_cast<double>(n_ + 1);
  const double variance = (0.25 + sum_squares_) / i;  // s2_{i-1}: past values only
  const double predmix_root = 1.0 / std::sqrt(i * std::log1p(i) * variance);
  for (Side* side : {&non_inferior_, &superior_, &harm_}) bet(*side, x, predmix_root);
  n_ += 1;
  sum_d_ += d;
  sum_x_ += x;
  const double mu = (0.5 + sum_x_) / (i + 1.0);
  sum_squares_ += (x - mu) * (x - mu);
  return {};
}

std::string_view PairedBetting::decision() const {
  if (harm().crossed_at) return "harm";
  if (superior().crossed_at) return "superior";
  if (non_inferior().crossed_at) return "non_inferior";
  return "undecided";
}

Json PairedBetting::save() const {
  Json json = {{"alpha", params_.alpha},
               {"alpha_harm", params_.alpha_harm},
               {"margin", params_.margin},
               {"bets", bets_name(params_.bets)},
               {"c", params_.c},
               {"reach", params_.reach},
               {"n", n_},
               {"sum_d", sum_d_},
               {"sum_x", sum_x_},
               {"sum_squares", sum_squares_}};
  const auto put = [&](const char* name, const Side& side) {
    json[name] = capital_json(side.capital);
    json[name]["log_wealth"] = side.log_wealth;
  };
  put("non_inferior", non_inferior_);
  put("superior", superior_);
  put("harm", harm_);
  return json;
}

Result<PairedBetting> PairedBetting::restore(const PairedBettingParams& params, const Json& saved) {
  PairedBetting made(params);
  const Json expected = made.save();
  for (const char* key : {"alpha", "alpha_harm", "margin", "bets", "c", "reach"}) {
    if (!saved.is_object() || !saved.contains(key) || saved[key] != expected[key]) {
      return fail(Code::kCorrupt, std::string("paired_betting: saved with another ") + key +
                                      ": a change of plan starts a new experiment");
    }
  }
  try {
    made.n_ = saved.at("n").get<std::uint64_t>();
    made.sum_d_ = saved.at("sum_d").get<double>();
    made.sum_x_ = saved.at("sum_x").get<double>();
    made.sum_squares_ = saved.at("sum_squares").get<double>();
    const auto take = [&](const char* name, Side& side) {
      const Json& part = saved.at(name);
      side.capital.log_e = part.at("log_e").get<double>();
      side.capital.max_log_e = part.at("max_log_e").get<double>();
      if (!part.at("crossed_at").is_null()) {
        side.capital.crossed_at = part.at("crossed_at").get<std::uint64_t>();
      }
      side.log_wealth = part.at("log_wealth").get<std::array<double, kGridSize>>();
    };
    take("non_inferior", made.non_inferior_);
    take("superior", made.superior_);
    take("harm", made.harm_);
  } catch (const nlohmann::json::exception& error) {
    return fail(Code::kCorrupt, std::string("paired_betting: ") + error.what());
  }
  return made;
}

}  // namespace trimtab::evidence
