#include "drift/rank_e.h"

#include <algorithm>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/special_functions/erf.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/check.h"
#include "base/quick_hash.h"
#include "drift/rank_alternatives.h"
#include "drift/rank_lanes.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("RNKE");
constexpr std::uint32_t kVersion = 3;  // 2: ln S in 16 bits, 3: quick_hash

constexpr double kUniformShare = 0.02;
constexpr double kNormal95 = 1.6448536269514722;
constexpr double kPlugInQuantile = 0.995;
constexpr double kMaxHalfLife = 20'000.0;
constexpr double kLeadUnit = 256.0;

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }
double normal_quantile(double p) {
  if (p <= 0.0) return -std::numeric_limits<double>::infinity();
  if (p >= 1.0) return std::numeric_limits<double>::infinity();
  return -std::sqrt(2.0) * boost::math::erfc_inv(2.0 * p);
}

// Bins whose mass is a floor hold more in p0 than they are seen to; a bet that moved that mass
// elsewhere would win without any change. So it keeps at least p0 there, at the others' cost.
void keep_floor(std::vector<double>& q, const Reference& reference) {
  double floor = 0.0;
  double rest = 0.0;
  for (std::size_t b = 0; b < q.size(); ++b) {
    if (reference.floored(b)) {
      q[b] = std::max(q[b], reference.mass(b));
      floor += q[b];
    } else {
      rest += q[b];
    }
  }
  for (std::size_t b = 0; b < q.size(); ++b) {
    if (!reference.floored(b)) q[b] *= (1.0 - floor) / rest;
  }
}

double chi2_distance(std::span<const double> q, const Reference& reference) {
  double sum = 0.0;
  for (std::size_t b = 0; b < q.size(); ++b) sum += q[b] * q[b] / reference.mass(b);
  return std::max(0.0, sum - 1.0);
}

}  // namespace

std::uint64_t category_hash(std::string_view text) {
  const std::uint64_t hash = quick_hash(text);
  return hash == 0 ? 1 : hash;
}

RankBets::RankBets(Reference reference, const RankOptions& options)
    : ordered_(reference.ordered()), options_(options), reference_(std::move(reference)) {
  CHECK(options.half_life_events >= 8.0 && options.half_life_events <= kMaxHalfLife,
        "rank_e: half_life outside 8 .. 20,000 events");
  for (std::size_t b = 0; b < reference_.bins(); ++b) {
    rows_[b].inverse_mass = static_cast<float>(1.0 / reference_.mass(b));
  }
  if (ordered_) build_fixed();
  build_plug_in();
  plug_in_weight_ = ordered_ ? kPlugInWeight : 1.0F;
}

void RankBets::build_fixed() {
  const std::size_t missing = reference_.missing_bin();
  const double present = 1.0 - reference_.mass(missing);
  for (std::size_t k = 0; k < kFixedBets; ++k) {
    const Alternative& alternative = kAlternatives[k];
    std::vector<double> q(reference_.bins());
    q[missing] = reference_.mass(missing);
    double cumulated = 0.0;
    double below = 0.0;
    for (std::size_t b = 0; b < missing; ++b) {
      cumulated += reference_.mass(b) / present;
      const double z = normal_quantile(b + 1 == missing ? 1.0 : cumulated);
      const double upto = normal_cdf((z - alternative.shift) / alternative.scale);
      q[b] = kUniformShare * reference_.mass(b) + (1.0 - kUniformShare) * present * (upto - below);
      below = upto;
    }
    keep_floor(q, reference_);
    const double chi2 = chi2_distance(q, reference_);
    tau_[k] = kNormal95 * std::sqrt(chi2 / static_cast<double>(reference_.size())) +
              options_.min_effect * std::sqrt(chi2);
    for (std::size_t b = 0; b <= missing; ++b) {
      const double e = q[b] / reference_.mass(b) / (1.0 + tau_[k]);
      rows_[b].e[k] = static_cast<float>(e);
      const double log_e = std::clamp(kLeadUnit * std::log(e), -1.0 * kLeadCap, 0.5 * kLeadCap);
      rows_[b].log_e[k] = static_cast<std::int16_t>(std::lround(log_e));
    }
  }
}

void RankBets::build_plug_in() {
  const auto freedom = static_cast<double>(std::max<std::size_t>(reference_.filled(), 2) - 1);
  tau_[kFixedBets] = boost::math::quantile(boost::math::chi_squared(freedom), kPlugInQuantile) /
                     static_cast<double>(reference_.size());
  // What it learns leaves the floored bins: their mass is taxed away instead of won.
  floor_keep_ = 1.0 / (1.0 + reference_.floor_excess());
  plug_in_keep_ = static_cast<float>(floor_keep_ / (1.0 + tau_[kFixedBets]));
  // The faded sum stays below half_life (1/ln 2 + 1/8) events: the unit keeps it within 16 bits.
  unit_ = 4;
  while (unit_ > 1 && 1.6 * options_.half_life_events * unit_ > 65'000.0) unit_ /= 2;
  fade_every_ = static_cast<std::uint16_t>(std::max(1.0, options_.half_life_events / 8.0));
  // One pseudo-event a bin: the plug-in starts at p0 and is convinced by tens of events.
  prior_ = static_cast<float>(reference_.bins()) * static_cast<float>(unit_);
}

// Where small effects are to be ignored the tax depends on what was learned.
float RankBets::plug_in_tax(const RankState& state) const {
  const double total = static_cast<double>(state.total) + static_cast<double>(prior_);
  double chi2 = -1.0;
  for (std::size_t b = 0; b < reference_.bins(); ++b) {
    const double q = (state.counts[b] + prior_ * reference_.mass(b)) / total;
    chi2 += q * q / reference_.mass(b);
  }
  const double tau = tau_[kFixedBets] + options_.min_effect * std::sqrt(std::max(0.0, chi2));
  return static_cast<float>(floor_keep_ / (1.0 + tau));
}

float RankBets::update(RankState& state, std::size_t bin, float dt, std::uint32_t step) const {
  const auto one = static_cast<std::uint8_t>(bin);
  const auto older = static_cast<std::uint16_t>(std::min<std::uint32_t>(step, kMostAge));
  double evidence = 0.0;
  return update_run(state, {&one, &dt, &older, 1, &evidence});
}

float RankBets::plug_in_e(const RankState& state, std::size_t bin) const {
  const float learned = static_cast<float>(state.counts[bin]) * rows_[bin].inverse_mass + prior_;
  const float tax = options_.min_effect <= 0.0 ? plug_in_keep_ : plug_in_tax(state);
  return learned / (static_cast<float>(static_cast<std::int32_t>(state.total)) + prior_) * tax;
}

std::size_t RankBets::leader(const RankState& state) const {
  std::size_t best = kFixedBets;
  float most = plug_in_weight_ * state.wealth[kFixedBets];
  for (std::size_t k = 0; ordered_ && k < kFixedBets; ++k) {
    if (kWeights[k] * state.wealth[k] > most) {
      most = kWeights[k] * state.wealth[k];
      best = k;
    }
  }
  return best;
}

double RankBets::log_ratio(const RankState& state, std::size_t bet, std::size_t bin) const {
  const float e = bet < kFixedBets ? rows_[bin].e[bet] : plug_in_e(state, bin);
  return std::log(static_cast<double>(e));
}

std::string RankBets::bet_name(std::size_t bet) {
  return bet < kFixedBets ? kAlternatives[bet].name : "learned";
}

namespace {

constexpr Parameter kParameters[] = {
    {"arl", Parameter::Type::kNumber, "100000", 1, 1e15,
     "promised mean run to a false alarm, in events; alarm at evidence >= arl", "STATISTICS.md 1"},
    {"half_life", Parameter::Type::kNumber, "5000", 8, kMaxHalfLife,
     "half-life of the learned bet, in events", "STATISTICS.md 1"},
    {"min_effect", Parameter::Type::kNumber, "0", 0, 10,
     "changes smaller than this (Cohen's w) are ignored", "STATISTICS.md 1"},
    {"kind", Parameter::Type::kText, "numeric", 0, 0,
     "how values are compared; one of: numeric|categorical", "COMMANDS.md"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

Reference categories_reference(const std::vector<std::string>& categories) {
  std::map<std::uint64_t, CategoryCount> counts;
  std::int64_t odd = 0;
  for (const auto& text : categories) {
    CategoryCount& entry = counts[category_hash(text)];
    entry.hash = category_hash(text);
    if (entry.count++ == 0) entry.label = text;
    entry.half += std::exchange(odd, 1 - odd);
  }
  std::vector<CategoryCount> all;
  for (auto& [hash, entry] : counts) all.push_back(std::move(entry));
  return Reference::from_categories(std::move(all), 0);
}

}  // namespace

std::span<const Parameter> RankE::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> RankE::make(const DetectorInput& input) {
  const bool categorical = input.parameters.text("kind") == "categorical";
  const std::size_t size = categorical ? (input.categories ? input.categories->size() : 0)
                                       : (input.numbers ? input.numbers->size() : 0);
  if (size == 0) return fail(Code::kInvalid, "rank_e needs --reference FILE with values");
  if (size < static_cast<std::size_t>(kMinReference)) {
    return fail(Code::kInvalid, "rank_e: the reference has " + std::to_string(size) +
                                    " values; at least 500 are needed for its promise");
  }
  Reference reference = categorical ? categories_reference(*input.categories)
                                    : Reference::from_numbers(*input.numbers);
  const RankOptions options{.half_life_events = input.parameters.number("half_life"),
                            .min_effect = input.parameters.number("min_effect")};
  return std::make_unique<RankE>(std::make_shared<const RankBets>(std::move(reference), options),
                                 input.parameters.number("arl"));
}

Verdict RankE::step(std::size_t bin) {
  const float evidence = bets_->update(state_, bin, 1.0F);
  max_evidence_ = std::max(max_evidence_, evidence);
  return {.drift = static_cast<double>(evidence) >= arl_, .warning = false};
}

Verdict RankE::update(double x) {
  CHECK(bets_->reference().ordered(), "rank_e with kind=categorical takes categories");
  return step(bets_->reference().bin_of(x));
}

Verdict RankE::update_category(std::string_view category) {
  CHECK(!bets_->reference().ordered(), "rank_e with kind=numeric takes numbers");
  return step(bets_->reference().bin_of_category(category_hash(category)));
}

std::vector<std::pair<std::string, double>> RankE::state() const {
  return {{"evidence", state_.evidence}, {"max_evidence", max_evidence_}};
}

std::string RankE::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(state_);
  out.put(max_evidence_);
  return out.take();
}

Status RankE::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "rank_e");
  const auto state = in.get<RankState>();
  const auto max_evidence = in.get<float>();
  TRIMTAB_CHECK_OK(in.finish());
  state_ = state;
  max_evidence_ = max_evidence;
  return {};
}

}  // namespace trimtab::drift
