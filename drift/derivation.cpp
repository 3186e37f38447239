#include "drift/derivation.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/check.h"
#include "base/hash.h"
#include "drift/projections.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kRankTag = make_tag("TRLR");
constexpr std::uint32_t kMeanTag = make_tag("TRLM");
constexpr std::uint32_t kVersion = 2;  // 2: RankState of 216 bytes

float log10_of(double evidence, double threshold) {
  return evidence > 0.0 ? static_cast<float>(std::log10(evidence / threshold)) : -30.0F;
}

Result<Derived> derive_rank(std::string_view bytes) {
  ByteReader in(bytes, kRankTag, kVersion, "an alarm's trail");
  Derived derived;
  in.get_into(derived.threshold);
  RankOptions options;
  in.get_into(options.half_life_events);
  in.get_into(options.min_effect);
  auto states = in.get_all<RankState>();
  const auto steps = in.get_all<RankStep>();
  const auto bins = in.get_all<std::uint8_t>();
  auto cells = in.get_all<std::uint8_t>();
  const auto cell_count = in.get<std::uint64_t>();
  const std::size_t channels = states.size();
  if (cells.empty()) cells.assign(steps.size(), 0);
  if (cells.size() != steps.size() || cell_count == 0 || cell_count > 256) in.reject();
  if (channels == 0 || channels > kProjections || bins.size() != steps.size() * channels ||
      !(options.half_life_events >= 8.0 && options.half_life_events <= 20'000.0)) {
    in.reject();
  }
  std::vector<std::unique_ptr<RankBets>> bets;
  for (std::size_t c = 0; in.ok() && c < cell_count * channels; ++c) {
    bets.push_back(std::make_unique<RankBets>(Reference::load(in), options));
  }
  TRIMTAB_CHECK_OK(in.finish());
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const std::size_t cell = cells[i / channels];
    if (cell >= cell_count || bins[i] >= bets[cell * channels + i % channels]->reference().bins()) {
      return fail(Code::kCorrupt, "an alarm's trail: a bin that its reference does not have");
    }
  }
  for (const RankState& state : states) {
    derived.evidence_before += static_cast<double>(state.evidence) / static_cast<double>(channels);
  }
  derived.evidence = derived.evidence_before;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    double sum = 0.0;
    for (std::size_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(bets[cells[i] * channels + c]->update(
          states[c], bins[i * channels + c], steps[i].dt, steps[i].step));
    }
    derived.evidence = sum / static_cast<double>(channels);
    derived.path.push_back(log10_of(derived.evidence, derived.threshold));
  }
  std::size_t leading = 0;
  for (std::size_t c = 1; c < channels; ++c) {
    if (states[c].evidence > states[leading].evidence) leading = c;
  }
  derived.events = steps.size();
  derived.delay_events =
      static_cast<std::uint64_t>(states[leading].age[bets[leading]->leader(states[leading])]);
  return derived;
}

Result<Derived> derive_mean(std::string_view bytes) {
  ByteReader in(bytes, kMeanTag, kVersion, "an alarm's trail");
  Derived derived;
  in.get_into(derived.threshold);
  const auto level = in.get<double>();
  auto state = in.get<MeanState>();
  const auto steps = in.get_all<MeanStep>();
  TRIMTAB_CHECK_OK(in.finish());
  const MeanBets bets(level);
  derived.evidence_before = state.evidence;
  derived.evidence = state.evidence;
  for (const MeanStep& step : steps) {
    if (!(step.value >= 0.0 && step.value <= 1.0) || !(step.dt >= 0.0)) {
      return fail(Code::kCorrupt, "an alarm's trail: an outcome outside [0, 1]");
    }
    derived.evidence = bets.update(state, step.value, step.dt);
    derived.path.push_back(log10_of(derived.evidence, derived.threshold));
  }
  derived.events = steps.size();
  derived.delay_events = static_cast<std::uint64_t>(state.age[MeanBets::leader(state)]);
  return derived;
}

}  // namespace

std::string save_trail(const RankTrail& trail) {
  CHECK(
      !trail.states.empty() && !trail.bets.empty() && trail.bets.size() % trail.states.size() == 0,
      "a state a channel, bets for each in every cell");
  ByteWriter out(kRankTag, kVersion);
  out.put(trail.threshold);
  out.put(trail.bets.front()->options().half_life_events);
  out.put(trail.bets.front()->options().min_effect);
  out.put_all(trail.states);
  out.put_all(trail.steps);
  out.put_all(trail.bins);
  out.put_all(trail.cells);
  out.put(static_cast<std::uint64_t>(trail.bets.size() / trail.states.size()));
  for (const RankBets* bets : trail.bets) bets->reference().save(out);
  return out.take();
}

std::string save_trail(const MeanTrail& trail) {
  ByteWriter out(kMeanTag, kVersion);
  out.put(trail.threshold);
  out.put(trail.level);
  out.put(trail.state);
  out.put_all(trail.steps);
  return out.take();
}

Result<Derived> derive_again(std::string_view bytes) {
  std::uint32_t tag = 0;
  if (bytes.size() >= sizeof tag) std::memcpy(&tag, bytes.data(), sizeof tag);
  if (tag == kRankTag) return derive_rank(bytes);
  if (tag == kMeanTag) return derive_mean(bytes);
  return fail(Code::kCorrupt, "these bytes are no alarm's trail");
}

std::string trail_text(std::string_view bytes) {
  return to_hex(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

Result<Derived> derive_again_text(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return fail(Code::kCorrupt, "a trail's text is not hexadecimal");
    bytes += static_cast<char>(high << 4 | low);
  }
  return derive_again(bytes);
}

}  // namespace trimtab::drift
