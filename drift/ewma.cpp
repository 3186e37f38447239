#include "drift/ewma.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"alpha", Parameter::Type::kNumber, "0.1", 1e-12, 1, "weight of the newest value",
     "River main"},
    {"threshold", Parameter::Type::kNumber, "4", 1e-300, 1e300, "limit in standard errors",
     "River main"},
    {"min_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "no verdict before this many values", "River main"},
    {"mode", Parameter::Type::kText, "both", 0, 0, "which changes count; one of: up|down|both",
     "River main"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> Ewma::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Ewma::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  EwmaParameters chosen;
  chosen.alpha = given.number("alpha");
  chosen.threshold = given.number("threshold");
  chosen.min_instances = given.integer("min_instances");
  const std::string& mode = given.text("mode");
  chosen.mode = mode == "up"     ? Direction::kUp
                : mode == "down" ? Direction::kDown
                                 : Direction::kBoth;
  return std::make_unique<Ewma>(chosen);
}

Verdict Ewma::update(double x) {
  if (!std::isfinite(x)) return {};
  const double alpha = parameters_.alpha;
  state_.mean.update(x);
  state_.z = state_.mean.n == 1 ? x : alpha * x + (1.0 - alpha) * state_.z;
  state_.fading.update(x, alpha);
  state_.fading_squares.update(x * x, alpha);
  if (state_.mean.n < parameters_.min_instances) return {};
  const double variance = state_.fading_squares.mean - state_.fading.mean * state_.fading.mean;
  const double warm_up = 1.0 - std::pow(1.0 - alpha, 2.0 * static_cast<double>(state_.mean.n));
  const double limit = parameters_.threshold * std::sqrt(std::max(variance, 0.0)) *
                       std::sqrt(alpha / (2.0 - alpha) * warm_up);
  const double off = state_.z - state_.mean.mean;
  return {.drift = (off > limit && parameters_.mode != Direction::kDown) ||
                   (-off > limit && parameters_.mode != Direction::kUp),
          .warning = false};
}

std::vector<std::pair<std::string, double>> Ewma::state() const {
  return {{"n", static_cast<double>(state_.mean.n)}, {"mean", state_.mean.mean}, {"z", state_.z}};
}

}  // namespace trimtab::drift
