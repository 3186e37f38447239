#include "drift/mean_e.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "drift/bytes.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("MEAN");
constexpr std::uint32_t kVersion = 1;
constexpr std::array<double, kMeanBets> kOddsRatios = {1.25, 1.5, 2.0, 3.0, 5.0, 10.0};
constexpr double kWealthCap = 1e30;
constexpr double kReferenceAlpha = 0.05;

constexpr Parameter kParameters[] = {
    {"arl", Parameter::Type::kNumber, "100000", 1, 1e15,
     "promised mean run to a false alarm, in events; alarm at evidence >= arl", "STATISTICS.md 1"},
    {"baseline", Parameter::Type::kNumber, "", -1e300, 1e300,
     "the mean that is well; without it: the upper 95 % bound of --reference", "STATISTICS.md 2"},
    {"tolerance", Parameter::Type::kNumber, "0", 0, 1e300, "worse by less than this is no harm",
     "STATISTICS.md 2"},
    {"direction", Parameter::Type::kText, "up", 0, 0, "which change is harm; one of: up|down",
     "COMMANDS.md"},
    {"low", Parameter::Type::kNumber, "0", -1e300, 1e300, "least possible value", "COMMANDS.md"},
    {"high", Parameter::Type::kNumber, "1", -1e300, 1e300, "largest possible value", "COMMANDS.md"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

double binary_kl(double p, double q) {
  double sum = 0.0;
  if (p > 0.0) sum += p * std::log(p / q);
  if (p < 1.0) sum += (1.0 - p) * std::log((1.0 - p) / (1.0 - q));
  return sum;
}

// The largest harmless mean on the scale where 1 is worst.
double scaled_level(const MeanEParameters& p) {
  const double width = p.high - p.low;
  return p.up ? (p.baseline + p.tolerance - p.low) / width
              : (p.high - (p.baseline - p.tolerance)) / width;
}

}  // namespace

MeanBets::MeanBets(double level) : level_(std::clamp(level, 1e-6, 1.0 - 1e-6)) {
  const double odds = level_ / (1.0 - level_);
  for (std::size_t k = 0; k < kMeanBets; ++k) {
    const double target = odds * kOddsRatios[k] / (1.0 + odds * kOddsRatios[k]);
    stake_[k] = (target - level_) / (level_ * (1.0 - level_));
  }
}

double MeanBets::update(MeanState& state, double x, double dt) const {
  double sum = 0.0;
  for (std::size_t k = 0; k < kMeanBets; ++k) {
    const double e = 1.0 + stake_[k] * (x - level_);
    state.wealth[k] = std::min(e * (state.wealth[k] + dt), kWealthCap);
    state.age[k] = (state.best[k] > 1.0 ? state.age[k] : 0.0) + 1.0;
    state.best[k] = std::min(e * std::max(state.best[k], 1.0), kWealthCap);
    sum += state.wealth[k];
  }
  state.evidence = sum / static_cast<double>(kMeanBets);
  return state.evidence;
}

std::size_t MeanBets::leader(const MeanState& state) {
  return static_cast<std::size_t>(std::max_element(state.wealth.begin(), state.wealth.end()) -
                                  state.wealth.begin());
}

double upper_mean_bound(double mean, std::int64_t n, double alpha) {
  if (n <= 0) return 1.0;
  const double budget = std::log(1.0 / alpha) / static_cast<double>(n);
  double low = mean;
  double high = 1.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (middle >= 1.0 || binary_kl(mean, middle) > budget ? high : low) = middle;
  }
  return high;
}

std::span<const Parameter> MeanE::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> MeanE::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  MeanEParameters chosen;
  chosen.arl = given.number("arl");
  chosen.tolerance = given.number("tolerance");
  chosen.up = given.text("direction") == "up";
  chosen.low = given.number("low");
  chosen.high = given.number("high");
  if (chosen.low >= chosen.high) return fail(Code::kInvalid, "mean_e: low must be below high");
  if (given.has("baseline")) {
    chosen.baseline = given.number("baseline");
  } else if (input.numbers != nullptr && !input.numbers->empty()) {
    const auto& values = *input.numbers;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*least < chosen.low || *most > chosen.high) {
      return fail(Code::kInvalid, "mean_e: the reference has values outside low .. high");
    }
    const double n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    const double width = chosen.high - chosen.low;
    const double bad = chosen.up ? (mean - chosen.low) / width : (chosen.high - mean) / width;
    const double bound = upper_mean_bound(
        std::clamp(bad, 0.0, 1.0), static_cast<std::int64_t>(values.size()), kReferenceAlpha);
    chosen.baseline = chosen.up ? chosen.low + bound * width : chosen.high - bound * width;
  } else {
    return fail(Code::kInvalid, "mean_e needs --set baseline=NUMBER or --reference FILE");
  }
  if (chosen.baseline < chosen.low || chosen.baseline > chosen.high) {
    return fail(Code::kInvalid, "mean_e: the baseline lies outside low .. high");
  }
  if (scaled_level(chosen) >= 1.0) {
    return fail(Code::kInvalid,
                "mean_e: baseline and tolerance together leave no value that would be harm");
  }
  return std::make_unique<MeanE>(chosen);
}

MeanE::MeanE(const MeanEParameters& parameters)
    : parameters_(parameters), bets_(scaled_level(parameters)) {}

Status MeanE::check(double x) const {
  if (x >= parameters_.low && x <= parameters_.high) return {};
  return fail(Code::kInvalid, fmt::format("{} lies outside {} .. {}; set low and high", x,
                                          parameters_.low, parameters_.high));
}

Verdict MeanE::update(double x) {
  if (!(x >= parameters_.low && x <= parameters_.high)) return {};
  const double width = parameters_.high - parameters_.low;
  const double bad =
      parameters_.up ? (x - parameters_.low) / width : (parameters_.high - x) / width;
  const double evidence = bets_.update(state_, bad, 1.0);
  max_evidence_ = std::max(max_evidence_, evidence);
  return {.drift = evidence >= parameters_.arl, .warning = false};
}

std::vector<std::pair<std::string, double>> MeanE::state() const {
  return {{"evidence", state_.evidence}, {"max_evidence", max_evidence_}};
}

std::string MeanE::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(state_);
  out.put(max_evidence_);
  return out.take();
}

Status MeanE::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "mean_e");
  const auto state = in.get<MeanState>();
  const auto max_evidence = in.get<double>();
  TRIMTAB_CHECK_OK(in.finish());
  state_ = state;
  max_evidence_ = max_evidence;
  return {};
}

}  // namespace trimtab::drift
