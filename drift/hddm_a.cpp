#include "drift/hddm_a.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"drift_confidence", Parameter::Type::kNumber, "0.001", 1e-300, 1, "confidence of drift",
     "River 0.26.1, Frias-Blanco 2015"},
    {"warning_confidence", Parameter::Type::kNumber, "0.005", 1e-300, 1,
     "confidence of the warning zone", "River 0.26.1, Frias-Blanco 2015"},
    {"two_sided_test", Parameter::Type::kFlag, "false", 0, 0, "also react to a fall of the mean",
     "River 0.26.1, Frias-Blanco 2015"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

// Whether `all` lies further from its prefix `part` than chance allows.
bool differs(const RunningMean& part, const RunningMean& all, double difference,
             double confidence) {
  if (part.n == all.n) return false;
  const auto n_part = static_cast<double>(part.n);
  const auto n_all = static_cast<double>(all.n);
  const double m = (n_all - n_part) / n_part * (1.0 / n_all);
  return difference >= std::sqrt(m / 2.0 * std::log(2.0 / confidence));
}

}  // namespace

std::span<const Parameter> HddmA::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> HddmA::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  HddmAParameters chosen;
  chosen.drift_confidence = given.number("drift_confidence");
  chosen.warning_confidence = given.number("warning_confidence");
  chosen.two_sided_test = given.flag("two_sided_test");
  return std::make_unique<HddmA>(chosen);
}

Verdict HddmA::update(double x) {
  if (!std::isfinite(x)) return {};
  RunningMean& all = state_.all;
  all.update(x);
  if (state_.low.n == 0) state_.low = all;
  if (state_.high.n == 0) state_.high = all;
  const auto bound = [this](std::int64_t n) {
    return std::sqrt(1.0 / (2.0 * static_cast<double>(n)) *
                     std::log(1.0 / parameters_.drift_confidence));
  };
  const double eps = bound(all.n);
  if (state_.low.mean + bound(state_.low.n) >= all.mean + eps) state_.low = all;
  if (state_.high.mean - bound(state_.high.n) <= all.mean - eps) state_.high = all;
  const double rise = all.mean - state_.low.mean;
  const double fall = state_.high.mean - all.mean;
  Verdict verdict;
  verdict.drift = differs(state_.low, all, rise, parameters_.drift_confidence);
  verdict.warning =
      !verdict.drift && differs(state_.low, all, rise, parameters_.warning_confidence);
  if (parameters_.two_sided_test) {
    if (differs(state_.high, all, fall, parameters_.drift_confidence)) {
      verdict.drift = true;
    } else if (differs(state_.high, all, fall, parameters_.warning_confidence)) {
      verdict.warning = true;
    }
  }
  return verdict;
}

std::vector<std::pair<std::string, double>> HddmA::state() const {
  return {{"n", static_cast<double>(state_.all.n)},
          {"mean", state_.all.mean},
          {"low_mean", state_.low.mean},
          {"high_mean", state_.high.mean}};
}

}  // namespace trimtab::drift
