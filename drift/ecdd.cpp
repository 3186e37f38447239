#include "drift/ecdd.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr Parameter kParameters[] = {
    {"lambda", Parameter::Type::kNumber, "0.2", 0, 1, "weight of the newest value", "Ross 2012"},
    {"average_run_length", Parameter::Type::kInteger, "400", 100, 1000,
     "values between false alarms: 100, 400 or 1000", "Ross 2012"},
    {"warning_level", Parameter::Type::kNumber, "0.5", 1e-12, 0.999999999999,
     "share of the limit at which the warning zone begins", "Frouros 0.9.0"},
    {"min_num_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "no verdict before this many values", "Frouros 0.9.0"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

// Table 1 of the paper: control limit as a polynomial in p.
double control_limit(std::int64_t run_length, double p) {
  const double p3 = p * p * p;
  const double p5 = p3 * p * p;
  const double p7 = p5 * p * p;
  switch (run_length) {
    case 100: return 2.76 - 6.23 * p + 18.12 * p3 - 312.45 * p5 + 1002.18 * p7;
    case 1000: return 1.17 + 7.56 * p - 21.24 * p3 + 112.12 * p5 - 987.23 * p7;
    default: return 3.97 - 6.56 * p + 48.73 * p3 - 330.13 * p5 + 848.18 * p7;
  }
}

}  // namespace

std::span<const Parameter> Ecdd::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Ecdd::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  EcddParameters chosen;
  chosen.lambda = given.number("lambda");
  chosen.warning_level = given.number("warning_level");
  chosen.average_run_length = given.integer("average_run_length");
  chosen.min_num_instances = given.integer("min_num_instances");
  const std::int64_t run = chosen.average_run_length;
  if (run != 100 && run != 400 && run != 1000) {
    return fail(Code::kInvalid, "average_run_length must be 100, 400 or 1000");
  }
  return std::make_unique<Ecdd>(chosen);
}

Verdict Ecdd::update(double x) {
  if (!std::isfinite(x)) return {};
  const double lambda = parameters_.lambda;
  state_.p.update(x);
  state_.z = lambda * x + (1.0 - lambda) * state_.z;
  if (state_.p.n < parameters_.min_num_instances) return {};
  const double p = state_.p.mean;
  const double warm_up = 1.0 - std::pow(1.0 - lambda, 2.0 * static_cast<double>(state_.p.n));
  const double sigma = std::sqrt(lambda / (2.0 - lambda) * warm_up * (p * (1.0 - p)));
  const double limit = control_limit(parameters_.average_run_length, p);
  if (state_.z > p + limit * sigma) return {.drift = true, .warning = false};
  return {.drift = false, .warning = state_.z > p + parameters_.warning_level * limit * sigma};
}

std::vector<std::pair<std::string, double>> Ecdd::state() const {
  return {{"n", static_cast<double>(state_.p.n)}, {"p", state_.p.mean}, {"z", state_.z}};
}

}  // namespace trimtab::drift
