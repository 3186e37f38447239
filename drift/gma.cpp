#include "drift/gma.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"alpha", Parameter::Type::kNumber, "0.99", 0, 1, "forgetting factor of the sum",
     "Frouros 0.9.0"},
    {"lambda", Parameter::Type::kNumber, "1", 0, 1e300, "sum that is drift", "Frouros 0.9.0"},
    {"min_num_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "no verdict before this many values", "Frouros 0.9.0"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> Gma::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Gma::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  GmaParameters chosen;
  chosen.alpha = given.number("alpha");
  chosen.lambda = given.number("lambda");
  chosen.min_num_instances = given.integer("min_num_instances");
  return std::make_unique<Gma>(chosen);
}

Verdict Gma::update(double x) {
  if (!std::isfinite(x)) return {};
  state_.mean.update(x);
  state_.sum = parameters_.alpha * state_.sum + (1.0 - parameters_.alpha) * (x - state_.mean.mean);
  return {
      .drift = state_.mean.n >= parameters_.min_num_instances && state_.sum > parameters_.lambda,
      .warning = false};
}

std::vector<std::pair<std::string, double>> Gma::state() const {
  return {
      {"n", static_cast<double>(state_.mean.n)}, {"mean", state_.mean.mean}, {"sum", state_.sum}};
}

}  // namespace trimtab::drift
