#include "drift/glr_cusum.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("GLRC");
constexpr std::uint32_t kVersion = 1;

constexpr Parameter kParameters[] = {
    {"min_instances", Parameter::Type::kInteger, "50", 2, 1e15,
     "values that the reference is taken from", "PARAMETERS.md"},
    {"window", Parameter::Type::kInteger, "200", 1, 1e7, "latest change points looked at",
     "PARAMETERS.md"},
    {"threshold", Parameter::Type::kNumber, "12", 1e-300, 1e300,
     "log likelihood ratio that is drift", "PARAMETERS.md"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

GlrCusum::GlrCusum(const GlrCusumParameters& parameters)
    : parameters_(parameters), window_(static_cast<std::size_t>(parameters.window)) {}

std::span<const Parameter> GlrCusum::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> GlrCusum::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  return std::make_unique<GlrCusum>(
      GlrCusumParameters{.min_instances = given.integer("min_instances"),
                         .window = given.integer("window"),
                         .threshold = given.number("threshold")});
}

void GlrCusum::reset() {
  window_.clear();
  scale_ = {};
}

Verdict GlrCusum::update(double x) {
  if (!std::isfinite(x)) return {};
  RunningVariance& warm_up = scale_.warm_up;
  if (warm_up.mean.n < parameters_.min_instances) {
    warm_up.update(x);
    return {};
  }
  const double off = x - warm_up.mean.mean;
  const double sigma = std::sqrt(warm_up.variance());
  if (sigma == 0.0) {
    scale_.statistic = off == 0.0 ? 0.0 : std::numeric_limits<double>::infinity();
    return {.drift = off != 0.0, .warning = false};
  }
  window_.push(off / sigma);
  double sum = 0.0;
  double largest = 0.0;
  for (std::size_t age = 0; age < window_.size(); ++age) {
    sum += window_.newest(age);
    largest = std::max(largest, sum * sum / (2.0 * static_cast<double>(age + 1)));
  }
  scale_.statistic = largest;
  return {.drift = largest >= parameters_.threshold, .warning = false};
}

std::vector<std::pair<std::string, double>> GlrCusum::state() const {
  return {{"mean", scale_.warm_up.mean.mean},
          {"sigma", std::sqrt(scale_.warm_up.variance())},
          {"width", static_cast<double>(window_.size())},
          {"statistic", scale_.statistic}};
}

std::size_t GlrCusum::state_bytes() const {
  return sizeof(*this) + window_.capacity() * sizeof(double);
}

std::string GlrCusum::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(scale_);
  window_.save(out);
  return out.take();
}

Status GlrCusum::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "glr_cusum");
  const auto scale = in.get<Scale>();
  SlidingWindow<double> window(window_.capacity());
  window.restore(in);
  TRIMTAB_CHECK_OK(in.finish());
  scale_ = scale;
  window_ = std::move(window);
  return {};
}

}  // namespace trimtab::drift
