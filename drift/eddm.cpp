#include "drift/eddm.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"warm_start", Parameter::Type::kInteger, "30", 0, 1e15,
     "no verdict up to this many values and errors", "River 0.26.1, Baena-Garcia 2006"},
    {"alpha", Parameter::Type::kNumber, "0.95", 0, 1, "level of the warning zone",
     "River 0.26.1, Baena-Garcia 2006"},
    {"beta", Parameter::Type::kNumber, "0.9", 0, 1, "level of drift, at most alpha",
     "River 0.26.1, Baena-Garcia 2006"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> Eddm::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Eddm::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  EddmParameters chosen;
  chosen.warm_start = given.integer("warm_start");
  chosen.alpha = given.number("alpha");
  chosen.beta = given.number("beta");
  if (chosen.alpha < chosen.beta) {
    return fail(Code::kInvalid, "alpha must be greater than or equal to beta");
  }
  return std::make_unique<Eddm>(chosen);
}

Verdict Eddm::update(double x) {
  if (!std::isfinite(x)) return {};
  ++state_.n;
  if (x != 1.0) return {.drift = false, .warning = state_.warning};
  ++state_.errors;
  state_.distances.update(static_cast<double>(state_.n - state_.last_error));
  state_.last_error = state_.n;
  if (state_.n <= parameters_.warm_start) return {.drift = false, .warning = state_.warning};
  const double spread = std::sqrt(state_.distances.variance());
  const double now = state_.distances.mean.mean + 2.0 * spread;
  bool drift = false;
  if (now > state_.largest) {
    state_.largest = now;
  } else if (state_.errors > parameters_.warm_start) {
    const double level = now / state_.largest;
    drift = level < parameters_.beta;
    if (!drift) state_.warning = level < parameters_.alpha;
  }
  return {.drift = drift, .warning = state_.warning};
}

std::vector<std::pair<std::string, double>> Eddm::state() const {
  return {{"n", static_cast<double>(state_.n)},
          {"errors", static_cast<double>(state_.errors)},
          {"mean_distance", state_.distances.mean.mean},
          {"largest", state_.largest}};
}

}  // namespace trimtab::drift
