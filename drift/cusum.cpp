#include "drift/cusum.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"min_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "values that the reference is taken from", "River main, Page 1954"},
    {"slack", Parameter::Type::kNumber, "0.5", 0, 1e300,
     "deviation tolerated, in standard deviations", "River main, Page 1954"},
    {"threshold", Parameter::Type::kNumber, "5", 1e-300, 1e300,
     "decision interval, in standard deviations", "River main, Page 1954"},
    {"mode", Parameter::Type::kText, "both", 0, 0, "which changes count; one of: up|down|both",
     "River main, Page 1954"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> Cusum::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Cusum::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  CusumParameters chosen;
  chosen.min_instances = given.integer("min_instances");
  chosen.slack = given.number("slack");
  chosen.threshold = given.number("threshold");
  const std::string& mode = given.text("mode");
  chosen.mode = mode == "up"     ? Direction::kUp
                : mode == "down" ? Direction::kDown
                                 : Direction::kBoth;
  return std::make_unique<Cusum>(chosen);
}

Verdict Cusum::update(double x) {
  if (!std::isfinite(x)) return {};
  if (!state_.frozen) {
    state_.warm_up.update(x);
    if (state_.warm_up.mean.n < parameters_.min_instances) return {};
    state_.mean = state_.warm_up.mean.mean;
    state_.sigma = std::sqrt(std::max(state_.warm_up.variance(), 0.0));
    state_.frozen = true;
  }
  const double slack = parameters_.slack * state_.sigma;
  const double limit = parameters_.threshold * state_.sigma;
  const double off = x - state_.mean;
  state_.up = std::max(0.0, state_.up + off - slack);
  state_.down = std::max(0.0, state_.down - off - slack);
  return {.drift = (state_.up > limit && parameters_.mode != Direction::kDown) ||
                   (state_.down > limit && parameters_.mode != Direction::kUp),
          .warning = false};
}

std::vector<std::pair<std::string, double>> Cusum::state() const {
  return {{"mean", state_.mean}, {"sigma", state_.sigma}, {"up", state_.up}, {"down", state_.down}};
}

}  // namespace trimtab::drift
