#include "drift/bocd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("BOCD");
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMostRuns = 2048;
constexpr double kNegligible = 60.0;  // natural log

constexpr Parameter kParameters[] = {
    {"prior_mean", Parameter::Type::kNumber, "0", -1e300, 1e300, "prior of the mean",
     "Frouros 0.9.0"},
    {"prior_var", Parameter::Type::kNumber, "1", 1e-300, 1e300, "variance of that prior",
     "Frouros 0.9.0"},
    {"data_var", Parameter::Type::kNumber, "1", 1e-300, 1e300, "variance of the data",
     "Frouros 0.9.0"},
    {"hazard", Parameter::Type::kNumber, "0.01", 1e-12, 0.999999999999,
     "probability of a change at each value", "Frouros 0.9.0"},
    {"min_num_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "no verdict before this many values", "Frouros 0.9.0"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

double log_normal_density(double x, double mean, double variance) {
  const double off = x - mean;
  return -0.5 * std::log(2.0 * std::numbers::pi * variance) - 0.5 * off * off / variance;
}

}  // namespace

Bocd::Bocd(const BocdParameters& parameters) : parameters_(parameters) { reset(); }

std::span<const Parameter> Bocd::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Bocd::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  return std::make_unique<Bocd>(
      BocdParameters{.prior_mean = given.number("prior_mean"),
                     .prior_var = given.number("prior_var"),
                     .data_var = given.number("data_var"),
                     .hazard = given.number("hazard"),
                     .min_num_instances = given.integer("min_num_instances")});
}

void Bocd::reset() {
  n_ = 0;
  runs_.assign(1, {0.0, parameters_.prior_mean, 1.0 / parameters_.prior_var});
}

Verdict Bocd::update(double x) {
  if (!std::isfinite(x)) return {};
  ++n_;
  const double log_hazard = std::log(parameters_.hazard);
  const double log_growth = std::log1p(-parameters_.hazard);
  double largest = -std::numeric_limits<double>::infinity();
  for (Run& run : runs_) {
    run.log_joint += log_normal_density(x, run.mean, 1.0 / run.precision + parameters_.data_var);
    largest = std::max(largest, run.log_joint);
  }
  double sum = 0.0;
  for (const Run& run : runs_) sum += std::exp(run.log_joint - largest);
  const double total = largest + std::log(sum);
  for (Run& run : runs_) {
    // Relative to the evidence, so that no sum of logarithms runs away.
    run.log_joint += log_growth - total;
    const double precision = run.precision + 1.0 / parameters_.data_var;
    run.mean = (run.mean * run.precision + x / parameters_.data_var) / precision;
    run.precision = precision;
  }
  runs_.push_back({log_hazard, parameters_.prior_mean, 1.0 / parameters_.prior_var});
  prune();
  if (n_ < parameters_.min_num_instances) return {};
  const double full = runs_.front().log_joint;
  // On a tie the shorter run wins, as the first maximum does in the reference's order.
  const bool other = std::any_of(runs_.begin() + 1, runs_.end(),
                                 [full](const Run& run) { return run.log_joint >= full; });
  return {.drift = other, .warning = false};
}

void Bocd::prune() {
  double largest = runs_.front().log_joint;
  for (const Run& run : runs_) largest = std::max(largest, run.log_joint);
  const double floor = largest - kNegligible;
  const auto negligible = [floor](const Run& run) { return run.log_joint < floor; };
  runs_.erase(std::remove_if(runs_.begin() + 1, runs_.end(), negligible), runs_.end());
  while (runs_.size() > kMostRuns) {
    const auto least =
        std::min_element(runs_.begin() + 1, runs_.end(),
                         [](const Run& a, const Run& b) { return a.log_joint < b.log_joint; });
    runs_.erase(least);
  }
}

std::vector<std::pair<std::string, double>> Bocd::state() const {
  return {{"n", static_cast<double>(n_)},
          {"runs", static_cast<double>(runs_.size())},
          {"full_run_probability", std::exp(runs_.front().log_joint)}};
}

std::size_t Bocd::state_bytes() const { return sizeof(*this) + runs_.size() * sizeof(Run); }

std::string Bocd::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(n_);
  out.put_all(runs_);
  return out.take();
}

Status Bocd::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "bocd");
  const auto n = in.get<std::int64_t>();
  auto runs = in.get_all<Run>();
  if (runs.empty() || runs.size() > kMostRuns) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  n_ = n;
  runs_ = std::move(runs);
  return {};
}

}  // namespace trimtab::drift
