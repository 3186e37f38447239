#include "drift/rddm.h"

#include <cmath>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("RDDM");
constexpr std::uint32_t kVersion = 1;

constexpr Parameter kParameters[] = {
    {"warm_start", Parameter::Type::kInteger, "129", 1, 1e15, "no verdict up to this many values",
     "MOA"},
    {"warning_threshold", Parameter::Type::kNumber, "1.773", 1e-300, 1e300,
     "standard deviations above the minimum", "MOA"},
    {"drift_threshold", Parameter::Type::kNumber, "2.258", 1e-300, 1e300,
     "standard deviations above the minimum, more than warning_threshold", "MOA"},
    {"buffer_size", Parameter::Type::kInteger, "7000", 1, 1e9, "values kept for the restart",
     "MOA"},
    {"max_concept_size", Parameter::Type::kInteger, "40000", 1, 1e15,
     "a concept longer than this is rebuilt", "MOA"},
    {"warning_limit", Parameter::Type::kInteger, "1400", 1, 1e15,
     "a warning that lasts this long is a drift", "MOA"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "no effect: the detector restarts itself",
     "COMMANDS.md"},
};

}  // namespace

Rddm::Rddm(const RddmParameters& parameters)
    : parameters_(parameters), buffer_(static_cast<std::size_t>(parameters.buffer_size)) {}

std::span<const Parameter> Rddm::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Rddm::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  RddmParameters chosen;
  chosen.warm_start = given.integer("warm_start");
  chosen.warning_threshold = given.number("warning_threshold");
  chosen.drift_threshold = given.number("drift_threshold");
  chosen.buffer_size = given.integer("buffer_size");
  chosen.max_concept_size = given.integer("max_concept_size");
  chosen.warning_limit = given.integer("warning_limit");
  if (chosen.drift_threshold <= chosen.warning_threshold) {
    return fail(Code::kInvalid, "drift_threshold must be greater than warning_threshold");
  }
  return std::make_unique<Rddm>(chosen);
}

void Rddm::reset() { concept_ = {}; }

void Rddm::take_minimum() {
  concept_.p_min = concept_.p;
  concept_.s_min = concept_.s;
  concept_.ps_min = concept_.p + concept_.s;
}

// Replays what is stored since the warning began (or all that is stored) into fresh statistics.
void Rddm::rebuild() {
  Concept& c = concept_;
  if (c.changed) c.p_min = c.s_min = c.ps_min = kInfinity;
  c.n = 1;
  c.p = 1.0;
  c.s = 0.0;
  if (c.warning_at != -1) {
    c.first = c.warning_at;
    c.stored = c.last - c.first + 1;
    if (c.stored <= 0) c.stored += parameters_.buffer_size;
  }
  std::int64_t at = c.first;
  for (std::int64_t i = 0; i < c.stored; ++i, at = (at + 1) % parameters_.buffer_size) {
    c.p += (static_cast<double>(buffer_[static_cast<std::size_t>(at)]) - c.p) /
           static_cast<double>(c.n);
    c.s = std::sqrt(c.p * (1.0 - c.p) / static_cast<double>(c.n));
    if (c.changed && c.n > parameters_.warm_start && c.p + c.s < c.ps_min) take_minimum();
    ++c.n;
  }
  c.warning_at = c.warning_seen = -1;
  c.pending = c.changed = 0;
}

void Rddm::store(std::uint8_t bit) {
  Concept& c = concept_;
  ++c.seen;
  c.last = (c.last + 1) % parameters_.buffer_size;
  buffer_[static_cast<std::size_t>(c.last)] = bit;
  if (c.stored < parameters_.buffer_size) {
    ++c.stored;
    return;
  }
  c.first = (c.first + 1) % parameters_.buffer_size;
  if (c.warning_at == c.last) c.warning_at = -1;  // its beginning has just been overwritten
}

Verdict Rddm::declare(bool keep_only_last) {
  concept_.pending = concept_.changed = 1;
  if (keep_only_last) {
    concept_.first = concept_.last;
    concept_.stored = 1;
  }
  return {.drift = true, .warning = false};
}

Verdict Rddm::update(double x) {
  if (!std::isfinite(x)) return {};
  Concept& c = concept_;
  if (c.pending) rebuild();
  store(x != 0.0);
  ++c.n;
  c.p += (x - c.p) / static_cast<double>(c.n);
  c.s = std::sqrt(c.p * (1.0 - c.p) / static_cast<double>(c.n));
  if (c.n <= parameters_.warm_start) return {};
  if (c.p + c.s < c.ps_min) take_minimum();
  if (c.p + c.s > c.p_min + parameters_.drift_threshold * c.s_min) {
    return declare(c.warning_at == -1);
  }
  if (c.p + c.s > c.p_min + parameters_.warning_threshold * c.s_min) {
    if (c.warning_seen == -1) {
      c.warning_seen = c.seen;
      c.warning_at = c.last;
    }
    if (c.warning_seen + parameters_.warning_limit > c.seen) {
      return {.drift = false, .warning = true};
    }
    c.warning_at = c.warning_seen = -1;
    Verdict verdict = declare(true);
    verdict.warning = true;
    return verdict;
  }
  c.warning_seen = c.warning_at = -1;
  if (c.n <= parameters_.max_concept_size) return {};
  c.pending = 1;  // rebuilt, but the reference stays: nothing has changed
  return {.drift = true, .warning = false};
}

std::vector<std::pair<std::string, double>> Rddm::state() const {
  return {{"n", static_cast<double>(concept_.n)},
          {"p", concept_.p},
          {"stored", static_cast<double>(concept_.stored)}};
}

std::size_t Rddm::state_bytes() const { return sizeof(*this) + buffer_.size(); }

std::string Rddm::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(concept_);
  out.put_all(buffer_);
  return out.take();
}

Status Rddm::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "rddm");
  const auto loaded = in.get<Concept>();
  auto buffer = in.get_all<std::uint8_t>();
  const auto size = static_cast<std::int64_t>(buffer_.size());
  const bool sane = buffer.size() == buffer_.size() && loaded.first >= 0 && loaded.first < size &&
                    loaded.last >= -1 && loaded.last < size && loaded.stored >= 0 &&
                    loaded.stored <= size && loaded.warning_at >= -1 && loaded.warning_at < size;
  if (!sane) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  concept_ = loaded;
  buffer_ = std::move(buffer);
  return {};
}

}  // namespace trimtab::drift
