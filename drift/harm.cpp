#include "drift/harm.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "drift/derivation.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("HARM");
constexpr std::uint32_t kVersion = 2;  // 2: checkpoints
constexpr std::uint64_t kCheckpointEvery = 128;
constexpr double kQuiet = 0.01;  // of the threshold: a rise has not begun
constexpr double kBaselineAlpha = 0.05;
constexpr double kRecentDecay = 0.99309249543703593;  // half-life 100 outcomes

}  // namespace

HarmWatch::HarmWatch(config::HarmMetricSettings settings, double threshold_ms,
                     double recovery_alpha, std::string prefix)
    : settings_(std::move(settings)),
      threshold_ms_(threshold_ms),
      recovery_threshold_(1.0 / recovery_alpha),
      prefix_(std::move(prefix)) {}

void HarmWatch::renew(std::int64_t since_ts_ms) {
  core_.renewing = true;
  core_.latched = false;
  core_.since_ts_ms = since_ts_ms;
  core_.collected = 0;
  core_.collected_sum = 0.0;
  core_.evidence = {};
  core_.recovery = {};
  set_checkpoint();
}

void HarmWatch::note(const Outcome& outcome) {
  const Mark mark{outcome.ts_ms, outcome.offset, outcome.value, outcome.id};
  const std::size_t slot = core_.outcomes % kRecent;
  if (slot == recent_.size()) {
    recent_.push_back(mark);
  } else {
    recent_.set(slot, mark);
  }
  ++core_.outcomes;
  core_.recent_weight = core_.recent_weight * kRecentDecay + 1.0;
  core_.recent_rate += (outcome.value - core_.recent_rate) / core_.recent_weight;
}

void HarmWatch::collect(const Outcome& outcome, bool reference_complete) {
  if (core_.armed && !core_.renewing) return;
  if (outcome.ts_ms < core_.since_ts_ms) return;
  ++core_.collected;
  core_.collected_sum += outcome.value;
  const bool enough = core_.collected >= settings_.max_reference ||
                      (core_.collected >= settings_.min_reference && reference_complete);
  if (!enough) return;
  const double rate = core_.collected_sum / static_cast<double>(core_.collected);
  const double bound = upper_mean_bound(rate, core_.collected, kBaselineAlpha);
  core_.renewing = false;
  if (core_.armed && bound >= core_.baseline) return;  // never to a worse rate
  const bool feeds = core_.armed;  // the outcome that completes a renewed baseline is judged by it
  core_.armed = true;
  core_.baseline = bound;
  core_.reference_rate = rate;
  core_.reference_size = core_.collected;
  core_.evidence = {};
  core_.last_ts_ms = outcome.ts_ms;
  set_checkpoint();
  if (feeds) --core_.checkpoint_outcomes;
}

void HarmWatch::set_checkpoint() {
  core_.checkpoint = core_.evidence;
  core_.checkpoint_outcomes = core_.outcomes;
  core_.checkpoint_ts_ms = core_.last_ts_ms;
}

// As a segment's detectors: while the evidence is low, and before the ring forgets.
void HarmWatch::note_checkpoint() {
  const std::uint64_t span = core_.outcomes - core_.checkpoint_outcomes;
  const bool quiet = core_.evidence.evidence < kQuiet * threshold_ms_;
  if ((span >= kCheckpointEvery && quiet) || span + 1 >= kRecent) set_checkpoint();
}

std::string HarmWatch::trail() const {
  MeanTrail trail;
  trail.threshold = threshold_ms_;
  trail.level = level();
  trail.state = core_.checkpoint;
  std::int64_t last_ts_ms = core_.checkpoint_ts_ms;
  for (std::uint64_t i = core_.checkpoint_outcomes; i < core_.outcomes; ++i) {
    const Mark& mark = recent_[i % kRecent];
    trail.steps.push_back(
        {mark.value, static_cast<double>(std::max<std::int64_t>(0, mark.ts_ms - last_ts_ms))});
    last_ts_ms = std::max(last_ts_ms, mark.ts_ms);
  }
  return save_trail(trail);
}

std::optional<Alarm> HarmWatch::observe(const Outcome& outcome, bool reference_complete) {
  if (!(outcome.value >= 0.0 && outcome.value <= 1.0)) {
    ++core_.refused;
    return std::nullopt;
  }
  // Late news of the champion before: after a promotion it says nothing about the present one.
  if (outcome.ts_ms < core_.since_ts_ms) return std::nullopt;
  const bool was_armed = core_.armed;
  note(outcome);
  collect(outcome, reference_complete);
  if (!was_armed) return std::nullopt;
  const auto dt = static_cast<double>(std::max<std::int64_t>(0, outcome.ts_ms - core_.last_ts_ms));
  core_.last_ts_ms = std::max(core_.last_ts_ms, outcome.ts_ms);
  if (core_.latched) {
    const MeanBets back(1.0 - level());
    if (back.update(core_.recovery, 1.0 - outcome.value, 1.0) >= recovery_threshold_) {
      core_.latched = false;
      core_.recovery = {};
      core_.evidence = {};
    }
    set_checkpoint();
    return std::nullopt;
  }
  if (bets().update(core_.evidence, outcome.value, dt) < threshold_ms_) {
    note_checkpoint();
    return std::nullopt;
  }
  Alarm alarm = make_alarm(outcome);
  core_.latched = true;
  core_.evidence = {};
  core_.recovery = {};
  return alarm;
}

// Made anew when the level has moved.
const MeanBets& HarmWatch::bets() {
  if (bets_level_ != level()) {
    bets_level_ = level();
    bets_ = MeanBets(bets_level_);
  }
  return bets_;
}

Alarm HarmWatch::make_alarm(const Outcome& outcome) const {
  Alarm alarm;
  alarm.kind = AlarmKind::kHarm;
  alarm.signal = settings_.name;
  alarm.segment = "all";
  alarm.ts_ms = outcome.ts_ms;
  alarm.offset = outcome.offset;
  alarm.evidence = core_.evidence.evidence;
  alarm.threshold = threshold_ms_;
  alarm.baseline = core_.baseline;
  alarm.tolerance = settings_.tolerance;
  const double age = core_.evidence.age[MeanBets::leader(core_.evidence)];
  alarm.delay_events = static_cast<std::uint64_t>(age);
  const std::uint64_t kept = std::min<std::uint64_t>(
      {alarm.delay_events, core_.outcomes, static_cast<std::uint64_t>(recent_.size())});
  double sum = 0.0;
  for (std::uint64_t i = core_.outcomes - kept; i < core_.outcomes; ++i) {
    const Mark& mark = recent_[i % kRecent];
    sum += mark.value;
    if (i + kept == core_.outcomes) {
      alarm.onset_ts_ms = mark.ts_ms;
      alarm.onset_offset = mark.offset;
    }
    if (mark.value > 0.5 && alarm.example_ids.size() < 5) {
      alarm.example_ids.emplace_back(mark.id.view());
    }
  }
  alarm.trail = trail();
  alarm.rate = kept > 0 ? sum / static_cast<double>(kept) : 0.0;
  char text[256];
  std::snprintf(text, sizeof text,
                "%s is %.3f over the last %llu outcomes, above its baseline %.3f plus tolerance "
                "%.3f (reference rate %.3f)",
                settings_.name.c_str(), alarm.rate, static_cast<unsigned long long>(kept),
                core_.baseline, settings_.tolerance, core_.reference_rate);
  alarm.summary = text;
  return alarm;
}

HarmStatus HarmWatch::status() const {
  HarmStatus status;
  status.metric = settings_.name;
  status.state = core_.latched ? "latched" : core_.armed ? "armed" : "collecting";
  status.reference_size = core_.armed ? core_.reference_size : core_.collected;
  status.reference_rate = core_.reference_rate;
  status.baseline = core_.armed ? core_.baseline : 0.0;
  status.tolerance = settings_.tolerance;
  status.evidence = core_.evidence.evidence;
  status.threshold = threshold_ms_;
  status.recent_rate = core_.recent_rate;
  status.outcomes = core_.outcomes;
  status.refused = core_.refused;
  return status;
}

void HarmWatch::save(SaveMode mode, std::vector<StatePiece>& out) const {
  ByteWriter bytes(kTag, kVersion);
  const Core& c = core_;
  bytes.put(static_cast<std::uint8_t>(c.armed | c.latched << 1 | c.renewing << 2));
  for (const std::int64_t x : {c.since_ts_ms, c.collected, c.reference_size, c.last_ts_ms}) {
    bytes.put(x);
  }
  for (const double x :
       {c.collected_sum, c.reference_rate, c.baseline, c.recent_rate, c.recent_weight}) {
    bytes.put(x);
  }
  bytes.put(c.outcomes);
  bytes.put(c.refused);
  bytes.put(c.evidence);
  bytes.put(c.recovery);
  bytes.put(c.checkpoint);
  bytes.put(c.checkpoint_outcomes);
  bytes.put(c.checkpoint_ts_ms);
  out.push_back({prefix_ + "core", bytes.take()});
  recent_.save(prefix_ + "recent/", mode, out);
}

Status HarmWatch::restore(const PieceMap& pieces) {
  const auto piece = pieces.find(prefix_ + "core");
  if (piece == pieces.end())
    return fail(Code::kCorrupt, "drift state: no piece " + prefix_ + "core");
  ByteReader in(piece->second, kTag, kVersion, "drift harm");
  Core c;
  const auto flags = in.get<std::uint8_t>();
  c.armed = (flags & 1) != 0;
  c.latched = (flags & 2) != 0;
  c.renewing = (flags & 4) != 0;
  for (std::int64_t* x : {&c.since_ts_ms, &c.collected, &c.reference_size, &c.last_ts_ms}) {
    in.get_into(*x);
  }
  for (double* x :
       {&c.collected_sum, &c.reference_rate, &c.baseline, &c.recent_rate, &c.recent_weight}) {
    in.get_into(*x);
  }
  in.get_into(c.outcomes);
  in.get_into(c.refused);
  in.get_into(c.evidence);
  in.get_into(c.recovery);
  in.get_into(c.checkpoint);
  in.get_into(c.checkpoint_outcomes);
  in.get_into(c.checkpoint_ts_ms);
  if (c.checkpoint_outcomes > c.outcomes) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  TRIMTAB_CHECK_OK(recent_.restore(prefix_ + "recent/", pieces));
  if (recent_.size() != std::min<std::uint64_t>(c.outcomes, kRecent)) {
    return fail(Code::kCorrupt, "drift harm: the ring of recent outcomes does not fit");
  }
  core_ = c;
  return {};
}

}  // namespace trimtab::drift
