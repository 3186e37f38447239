#include "drift/hddm_w.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"drift_confidence", Parameter::Type::kNumber, "0.001", 1e-300, 1, "confidence of drift",
     "River 0.26.1"},
    {"warning_confidence", Parameter::Type::kNumber, "0.005", 1e-300, 1,
     "confidence of the warning zone", "River 0.26.1"},
    {"lambda_val", Parameter::Type::kNumber, "0.05", 0, 1, "weight of the newest value",
     "River 0.26.1"},
    {"two_sided_test", Parameter::Type::kFlag, "false", 0, 0, "also react to a fall of the mean",
     "River 0.26.1"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

using Sample = HddmWState::Sample;

double mcdiarmid(double bound, double confidence) {
  return std::sqrt(bound * std::log(1.0 / confidence) / 2.0);
}

bool exceeds(const Sample& low, const Sample& high, double confidence) {
  return low.any && high.any &&
         high.ewma.mean - low.ewma.mean > mcdiarmid(low.bound + high.bound, confidence);
}

}  // namespace

std::span<const Parameter> HddmW::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> HddmW::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  HddmWParameters chosen;
  chosen.drift_confidence = given.number("drift_confidence");
  chosen.warning_confidence = given.number("warning_confidence");
  chosen.lambda_val = given.number("lambda_val");
  chosen.two_sided_test = given.flag("two_sided_test");
  return std::make_unique<HddmW>(chosen);
}

Verdict HddmW::update(double x) {
  if (!std::isfinite(x)) return {};
  const double lambda = parameters_.lambda_val;
  state_.all.update(x, lambda);
  const double eps = mcdiarmid(state_.all.bound, parameters_.drift_confidence);
  if (state_.all.ewma.mean + eps < state_.rise_cut) {
    state_.rise_cut = state_.all.ewma.mean + eps;
    state_.rise_before = state_.all;
    state_.rise_after = {};
  } else {
    state_.rise_after.update(x, lambda);
  }
  if (state_.all.ewma.mean - eps > state_.fall_cut) {
    state_.fall_cut = state_.all.ewma.mean - eps;
    state_.fall_before = state_.all;
    state_.fall_after = {};
  } else {
    state_.fall_after.update(x, lambda);
  }
  Verdict verdict;
  verdict.drift = exceeds(state_.rise_before, state_.rise_after, parameters_.drift_confidence);
  verdict.warning = !verdict.drift &&
                    exceeds(state_.rise_before, state_.rise_after, parameters_.warning_confidence);
  if (parameters_.two_sided_test) {
    if (exceeds(state_.fall_after, state_.fall_before, parameters_.drift_confidence)) {
      verdict.drift = true;
    } else if (exceeds(state_.fall_after, state_.fall_before, parameters_.warning_confidence)) {
      verdict.warning = true;
    }
  }
  return verdict;
}

std::vector<std::pair<std::string, double>> HddmW::state() const {
  return {{"ewma", state_.all.ewma.mean},
          {"rise_before", state_.rise_before.ewma.mean},
          {"rise_after", state_.rise_after.ewma.mean}};
}

}  // namespace trimtab::drift
