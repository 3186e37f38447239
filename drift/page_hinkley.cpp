#include "drift/page_hinkley.h"

#include <algorithm>
#include <cmath>

#include "drift/bytes.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("PGHK");
constexpr std::uint32_t kVersion = 1;

constexpr Parameter kParameters[] = {
    {"min_instances", Parameter::Type::kInteger, "30", 1, 1e15,
     "no verdict before this many values", "River 0.26.1"},
    {"delta", Parameter::Type::kNumber, "0.005", -1e300, 1e300,
     "deviation from the mean that is tolerated", "River 0.26.1"},
    {"threshold", Parameter::Type::kNumber, "50", 0, 1e300, "cumulated deviation that is drift",
     "River 0.26.1"},
    {"alpha", Parameter::Type::kNumber, "0.9999", 0, 1, "forgetting factor of the sums",
     "River 0.26.1"},
    {"mode", Parameter::Type::kText, "both", 0, 0, "which changes count; one of: up|down|both",
     "River 0.26.1"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

std::span<const Parameter> PageHinkley::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> PageHinkley::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  PageHinkleyParameters chosen;
  chosen.min_instances = given.integer("min_instances");
  chosen.delta = given.number("delta");
  chosen.threshold = given.number("threshold");
  chosen.alpha = given.number("alpha");
  const std::string& mode = given.text("mode");
  chosen.mode = mode == "up"     ? Direction::kUp
                : mode == "down" ? Direction::kDown
                                 : Direction::kBoth;
  return std::make_unique<PageHinkley>(chosen);
}

Verdict PageHinkley::update(double x) {
  if (!std::isfinite(x)) return {};
  ++sums_.n;
  sums_.mean += (x - sums_.mean) / static_cast<double>(sums_.n);
  const double off = x - sums_.mean;
  sums_.up = parameters_.alpha * sums_.up + off - parameters_.delta;
  sums_.down = parameters_.alpha * sums_.down + off + parameters_.delta;
  sums_.min_up = std::min(sums_.min_up, sums_.up);
  sums_.max_down = std::max(sums_.max_down, sums_.down);
  if (sums_.n < parameters_.min_instances) return {};
  const bool rises = sums_.up - sums_.min_up > parameters_.threshold;
  const bool falls = sums_.max_down - sums_.down > parameters_.threshold;
  return {.drift = (rises && parameters_.mode != Direction::kDown) ||
                   (falls && parameters_.mode != Direction::kUp),
          .warning = false};
}

std::vector<std::pair<std::string, double>> PageHinkley::state() const {
  return {{"n", static_cast<double>(sums_.n)},
          {"mean", sums_.mean},
          {"sum_increase", sums_.up},
          {"sum_decrease", sums_.down}};
}

std::string PageHinkley::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(sums_);
  return out.take();
}

Status PageHinkley::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "page_hinkley");
  const auto loaded = in.get<Sums>();
  TRIMTAB_CHECK_OK(in.finish());
  sums_ = loaded;
  return {};
}

}  // namespace trimtab::drift
