#include "drift/stepd.h"

#include <cmath>
#include <numbers>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("STEP");
constexpr std::uint32_t kVersion = 1;

constexpr Parameter kParameters[] = {
    {"alpha_d", Parameter::Type::kNumber, "0.003", 1e-300, 1, "significance of drift",
     "Frouros 0.9.0"},
    {"alpha_w", Parameter::Type::kNumber, "0.05", 1e-300, 1,
     "significance of the warning zone, above alpha_d", "Frouros 0.9.0"},
    {"min_num_instances", Parameter::Type::kInteger, "30", 1, 1e8, "values in the window",
     "Frouros 0.9.0"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

Stepd::Stepd(const StepdParameters& parameters)
    : parameters_(parameters), window_(static_cast<std::size_t>(parameters.min_num_instances)) {}

std::span<const Parameter> Stepd::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Stepd::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  StepdParameters chosen;
  chosen.alpha_d = given.number("alpha_d");
  chosen.alpha_w = given.number("alpha_w");
  chosen.min_num_instances = given.integer("min_num_instances");
  if (chosen.alpha_w <= chosen.alpha_d) {
    return fail(Code::kInvalid, "alpha_w must be greater than alpha_d");
  }
  return std::make_unique<Stepd>(chosen);
}

void Stepd::reset() {
  window_.clear();
  counts_ = {};
}

Verdict Stepd::update(double x) {
  if (!std::isfinite(x)) return {};
  const std::uint8_t correct = x != 0.0;
  ++counts_.n;
  counts_.correct += correct;
  counts_.correct_in_window += correct;
  counts_.correct_in_window -= window_.push(correct);
  if (counts_.n < 2 * parameters_.min_num_instances) return {};
  const auto in_window = static_cast<double>(window_.size());
  const double before = static_cast<double>(counts_.n) - in_window;
  const double right_before = static_cast<double>(counts_.correct - counts_.correct_in_window);
  const double p = static_cast<double>(counts_.correct) / static_cast<double>(counts_.n);
  const double inverse = 1.0 / before + 1.0 / in_window;
  const double difference =
      std::abs(right_before / before - static_cast<double>(counts_.correct_in_window) / in_window);
  // With p = 0 or 1 this is -infinity and its absolute value drift, as in the reference.
  const double statistic = (difference - 0.5 * inverse) / std::sqrt(p * (1.0 - p) * inverse);
  const double p_value = 0.5 * std::erfc(std::abs(statistic) / std::numbers::sqrt2);
  if (p_value < parameters_.alpha_d) return {.drift = true, .warning = false};
  return {.drift = false, .warning = p_value < parameters_.alpha_w};
}

std::vector<std::pair<std::string, double>> Stepd::state() const {
  return {{"n", static_cast<double>(counts_.n)},
          {"correct", static_cast<double>(counts_.correct)},
          {"correct_in_window", static_cast<double>(counts_.correct_in_window)}};
}

std::size_t Stepd::state_bytes() const { return sizeof(*this) + window_.capacity(); }

std::string Stepd::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(counts_);
  window_.save(out);
  return out.take();
}

Status Stepd::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "stepd");
  const auto counts = in.get<Counts>();
  SlidingWindow<std::uint8_t> window(window_.capacity());
  window.restore(in);
  TRIMTAB_CHECK_OK(in.finish());
  counts_ = counts;
  window_ = std::move(window);
  return {};
}

}  // namespace trimtab::drift
