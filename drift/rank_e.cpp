#include "drift/rank_e.h"

#include <algorithm>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/special_functions/erf.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/check.h"
#include "base/hash.h"
#include "drift/rank_lanes.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("RNKE");
constexpr std::uint32_t kVersion = 2;  // 2: ln S in 16 bits

constexpr double kUniformShare = 0.02;
constexpr double kNormal95 = 1.6448536269514722;
constexpr double kPlugInQuantile = 0.995;
constexpr double kMaxHalfLife = 20'000.0;
constexpr double kLeadUnit = 256.0;

struct Alternative {
  double shift;
  double scale;
  float weight;  // share of the evidence; with kPlugInWeight they sum to 1
  const char* name;
};
constexpr float kPlugInWeight = 0.095F;
constexpr std::array<Alternative, kFixedBets> kAlternatives = {{
    {-2.0, 1.0, 0.03F, "shift -2"},
    {-1.0, 1.0, 0.05F, "shift -1"},
    {-0.5, 1.0, 0.07F, "shift -.5"},
    {-0.25, 1.0, 0.165F, "shift -.25"},
    {0.25, 1.0, 0.165F, "shift +.25"},
    {0.5, 1.0, 0.07F, "shift +.5"},
    {1.0, 1.0, 0.05F, "shift +1"},
    {2.0, 1.0, 0.03F, "shift +2"},
    {0.0, 0.67, 0.035F, "scale .67"},
    {0.0, 0.8, 0.05F, "scale .8"},
    {0.0, 1.25, 0.05F, "scale 1.25"},
    {0.0, 1.5, 0.05F, "scale 1.5"},
    {0.0, 2.0, 0.03F, "scale 2"},
    {0.0, 3.0, 0.02F, "scale 3"},
    {-1.0, 1.5, 0.02F, "shift -1 scale 1.5"},
    {1.0, 1.5, 0.02F, "shift +1 scale 1.5"},
}};

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
  const std::uint64_t hash = stable_hash(text);
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

namespace {

alignas(64) constexpr std::array<float, kFixedBets> kWeights = [] {
  std::array<float, kFixedBets> weights{};
  for (std::size_t k = 0; k < kFixedBets; ++k) weights[k] = kAlternatives[k].weight;
  return weights;
}();
static_assert(
    [] {
      float sum = kPlugInWeight;
      for (const float weight : kWeights) sum += weight;
      return sum > 0.99999F && sum < 1.00001F;
    }(),
    "the evidence is a mean of the bets' wealth");

}  // namespace

inline float RankBets::plug_in_e(const RankState& state, std::size_t bin) const {
  const float learned = static_cast<float>(state.counts[bin]) * rows_[bin].inverse_mass + prior_;
  const float tax = options_.min_effect <= 0.0 ? plug_in_keep_ : plug_in_tax(state);
  return learned / (static_cast<float>(static_cast<std::int32_t>(state.total)) + prior_) * tax;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors never leave the functions inlined here

void RankBets::fade(RankState& state) {
  state.since_fade = 0;
  state.total = 0;
  for (std::uint16_t& count : state.counts) {
    // x 2^(-1/8), rounded: after eight of them half is left.
    count = static_cast<std::uint16_t>((count * 60'097U + 32'768U) >> 16);
    state.total += count;
  }
}

// By value, so that they become one instruction and no branch.
[[gnu::always_inline]] inline float least(float a, float b) { return a < b ? a : b; }
[[gnu::always_inline]] inline float most(float a, float b) { return a > b ? a : b; }

// What goes from one pass over a run to the next.
struct RankBets::Passes {
  std::array<float, kMostOfRun> e;                  // the plug-in's
  alignas(16) std::array<float, kMostOfRun> wealth;  // the plug-in's
  alignas(64) std::array<float, kMostOfRun * kFixedBets> parts;
};

// The e-values of the plug-in: what it bets on an event is what it learned from those before.
inline void RankBets::learn(RankState& state, const RankRun& run, Passes& passes) const {
  const float prior = prior_, keep = plug_in_keep_;
  const std::uint32_t unit = unit_;
  for (std::size_t at = 0; at < run.count;) {
    const std::size_t to =
        std::min<std::size_t>(run.count, at + fade_every_ - std::size_t{state.since_fade});
    std::uint32_t total = state.total;
    state.since_fade = static_cast<std::uint16_t>(state.since_fade + (to - at));
    for (; at < to; ++at, total += unit) {
      const std::size_t bin = run.bins[at];
      const std::int32_t count = state.counts[bin];
      state.counts[bin] = static_cast<std::uint16_t>(static_cast<std::uint32_t>(count) + unit);
      const float learned = static_cast<float>(count) * rows_[bin].inverse_mass + prior;
      passes.e[at] = learned / (static_cast<float>(static_cast<std::int32_t>(total)) + prior) * keep;
    }
    state.total = total;
    if (state.since_fade >= fade_every_) fade(state);
  }
}

// The same where small effects are ignored: the tax depends on what was learned before.
void RankBets::learn_taxed(RankState& state, const RankRun& run, Passes& passes) const {
  for (std::size_t i = 0; i < run.count; ++i) {
    const std::size_t bin = run.bins[i];
    passes.e[i] = plug_in_e(state, bin);
    state.counts[bin] = static_cast<std::uint16_t>(state.counts[bin] + unit_);
    state.total += unit_;
    if (++state.since_fade >= fade_every_) fade(state);
  }
}

// The recursions.
template <std::size_t kBytes, bool kOrdered>
[[gnu::always_inline]] inline void RankBets::grow(RankState& state, const RankRun& run,
                                                  Passes& passes) const {
  constexpr std::size_t p = kFixedBets;  // the plug-in's place
  FixedBets<kBytes> fixed(state, kWeights.data());
  float wealth = state.wealth[p], best = state.learned_best;
  int age = state.age[p];
  for (std::size_t i = 0; i < run.count; ++i) {
    const float e = passes.e[i], dt = run.dts[i];
    const int older = run.steps[i];
    wealth = least(e * (wealth + dt), kWealthCap);
    passes.wealth[i] = wealth;
    // Arithmetic, for it is a coin's toss.
    const int running = best > 1.0F ? 1 : 0;
    age = 1 + running * (std::min(age + older, +kMostAge) - 1);
    best = least(most(e * best, e), kWealthCap);  // e max(best, 1), and no branch
    if (!kOrdered) continue;
    fixed.step(rows_[run.bins[i]], dt, static_cast<std::int16_t>(older),
               &passes.parts[i * kFixedBets]);
  }
  if (kOrdered) fixed.put(state);
  state.wealth[p] = wealth;
  state.learned_best = best;
  state.age[p] = static_cast<std::int16_t>(age);
}

// The evidence after each event. Returns the most.
template <bool kOrdered>
[[gnu::always_inline]] inline float RankBets::add_up(RankState& state, const RankRun& run,
                                                     const Passes& passes) const {
  Four most{};
  std::size_t i = 0;
  for (; i + 4 <= run.count; i += 4) {
    Four sum = load<Four>(&passes.wealth[i]) * plug_in_weight_;
    if (kOrdered) sum = sums_of_four(&passes.parts[i * kFixedBets]) + sum;
    most = sum > most ? sum : most;
    store(run.evidence + i, __builtin_convertvector(sum, Lanes<double, 32>));
    state.evidence = sum[3];
  }
  float all = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
  for (; i < run.count; ++i) {
    float fixed = 0.0F;
    if (kOrdered) {
      const Four sum = quarters(&passes.parts[i * kFixedBets]);
      fixed = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    state.evidence = fixed + plug_in_weight_ * passes.wealth[i];
    run.evidence[i] = static_cast<double>(state.evidence);
    all = std::max(all, state.evidence);
  }
  return all;
}

template <std::size_t kBytes, bool kOrdered>
[[gnu::always_inline]] inline float RankBets::go(RankState& state, const RankRun& run) const {
  Passes passes;
  if (options_.min_effect <= 0.0) {
    learn(state, run, passes);
  } else {
    learn_taxed(state, run, passes);
  }
  grow<kBytes, kOrdered>(state, run, passes);
  return add_up<kOrdered>(state, run, passes);
}

float RankBets::run_narrow(const RankBets& bets, RankState& state, const RankRun& run) {
  return bets.ordered_ ? bets.go<16, true>(state, run) : bets.go<16, false>(state, run);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] float RankBets::run_avx2(const RankBets& bets, RankState& state,
                                                 const RankRun& run) {
  return bets.ordered_ ? bets.go<32, true>(state, run) : bets.go<32, false>(state, run);
}
[[gnu::target("avx512f,avx512bw,avx512vl,avx512dq")]] float RankBets::run_avx512(
    const RankBets& bets, RankState& state, const RankRun& run) {
  return bets.ordered_ ? bets.go<64, true>(state, run) : bets.go<64, false>(state, run);
}
#endif

#pragma GCC diagnostic pop

std::vector<RankBets::Way> RankBets::ways() {
  std::vector<Way> all;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    all.push_back(&run_avx512);
  }
  if (__builtin_cpu_supports("avx2")) all.push_back(&run_avx2);
#endif
  all.push_back(&run_narrow);
  return all;
}

float RankBets::update_run(RankState& state, const RankRun& run) const {
  static const Way kFastest = ways().front();
  return kFastest(*this, state, run);
}

float RankBets::update(RankState& state, std::size_t bin, float dt, std::uint32_t step) const {
  const auto one = static_cast<std::uint8_t>(bin);
  const auto older = static_cast<std::uint16_t>(std::min<std::uint32_t>(step, kMostAge));
  double evidence = 0.0;
  return update_run(state, {&one, &dt, &older, 1, &evidence});
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
