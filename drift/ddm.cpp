#include "drift/ddm.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"warm_start", Parameter::Type::kInteger, "30", 0, 1e15, "no verdict up to this many values",
     "River 0.26.1, Gama 2004"},
    {"warning_threshold", Parameter::Type::kNumber, "2", 0, 1e300,
     "standard deviations above the minimum", "River 0.26.1, Gama 2004"},
    {"drift_threshold", Parameter::Type::kNumber, "3", 0, 1e300,
     "standard deviations above the minimum", "River 0.26.1, Gama 2004"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> Ddm::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Ddm::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  DdmParameters chosen;
  chosen.warm_start = given.integer("warm_start");
  chosen.warning_threshold = given.number("warning_threshold");
  chosen.drift_threshold = given.number("drift_threshold");
  return std::make_unique<Ddm>(chosen);
}

Verdict Ddm::update(double x) {
  if (!std::isfinite(x)) return {};
  state_.p.update(x);
  const double p = state_.p.mean;
  const double s = std::sqrt(p * (1.0 - p) / static_cast<double>(state_.p.n));
  if (state_.p.n <= parameters_.warm_start) return {};
  if (p + s <= state_.ps_min) {
    state_.p_min = p;
    state_.s_min = s;
    state_.ps_min = p + s;
  }
  const bool drift = p + s > state_.p_min + parameters_.drift_threshold * state_.s_min;
  const bool warning = p + s > state_.p_min + parameters_.warning_threshold * state_.s_min;
  return {.drift = drift, .warning = warning && !drift};
}

std::vector<std::pair<std::string, double>> Ddm::state() const {
  return {{"n", static_cast<double>(state_.p.n)},
          {"p", state_.p.mean},
          {"p_min", state_.p_min},
          {"s_min", state_.s_min}};
}

}  // namespace trimtab::drift
