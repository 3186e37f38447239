#include "drift/fhddm.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("FHDM");
constexpr std::uint32_t kVersion = 1;

constexpr Parameter kParameters[] = {
    {"sliding_window_size", Parameter::Type::kInteger, "100", 1, 1e8, "values in the window",
     "River 0.26.1"},
    {"confidence_level", Parameter::Type::kNumber, "0.000001", 1e-300, 1,
     "probability of a false drift, by Hoeffding", "River 0.26.1"},
    {"short_window_size", Parameter::Type::kInteger, "", 1, 1e8,
     "values in a second, shorter window; absent: none", "River 0.26.1"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

// Whether the mean of `ones` in `size` values has fallen too far below its largest.
bool has_fallen(std::int64_t ones, std::int64_t size, double confidence, double& largest) {
  const auto n = static_cast<double>(size);
  const double mean = static_cast<double>(ones) / n;
  largest = std::max(largest, mean);
  return largest - mean > std::sqrt(std::log(1.0 / confidence) / (2.0 * n));
}

}  // namespace

Fhddm::Fhddm(const FhddmParameters& parameters)
    : parameters_(parameters), window_(static_cast<std::size_t>(parameters.sliding_window_size)) {}

std::span<const Parameter> Fhddm::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Fhddm::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  FhddmParameters chosen;
  chosen.sliding_window_size = given.integer("sliding_window_size");
  chosen.confidence_level = given.number("confidence_level");
  if (given.has("short_window_size")) {
    chosen.short_window_size = given.integer("short_window_size");
    if (chosen.short_window_size > chosen.sliding_window_size) {
      return fail(Code::kInvalid, "short_window_size must not exceed sliding_window_size");
    }
  }
  return std::make_unique<Fhddm>(chosen);
}

void Fhddm::reset() {
  window_.clear();
  maxima_ = {};
}

Verdict Fhddm::update(double x) {
  if (!std::isfinite(x)) return {};
  const std::uint8_t bit = x != 0.0;
  const std::int64_t size = parameters_.sliding_window_size;
  const std::int64_t short_size = parameters_.short_window_size;
  if (short_size > 0) {
    maxima_.short_ones += bit;
    const auto gone_age = static_cast<std::size_t>(short_size - 1);  // before this value is pushed
    if (window_.size() > gone_age) maxima_.short_ones -= window_.newest(gone_age);
  }
  maxima_.ones += bit;
  maxima_.ones -= window_.push(bit);
  if (!window_.full()) return {};
  const double confidence = parameters_.confidence_level;
  const bool fallen_short = short_size > 0 && has_fallen(maxima_.short_ones, short_size, confidence,
                                                         maxima_.short_largest);
  const bool fallen = has_fallen(maxima_.ones, size, confidence, maxima_.largest);
  return {.drift = fallen || fallen_short, .warning = false};
}

std::vector<std::pair<std::string, double>> Fhddm::state() const {
  return {{"width", static_cast<double>(window_.size())},
          {"ones", static_cast<double>(maxima_.ones)},
          {"largest", maxima_.largest}};
}

std::size_t Fhddm::state_bytes() const { return sizeof(*this) + window_.capacity(); }

std::string Fhddm::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(maxima_);
  window_.save(out);
  return out.take();
}

Status Fhddm::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "fhddm");
  const auto maxima = in.get<Maxima>();
  SlidingWindow<std::uint8_t> window(window_.capacity());
  window.restore(in);
  TRIMTAB_CHECK_OK(in.finish());
  maxima_ = maxima;
  window_ = std::move(window);
  return {};
}

}  // namespace trimtab::drift
