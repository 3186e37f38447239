// The monitor of one target. Over 400 lines because it joins segments, harm, sessions and state,
// each a class of its own, and has a thin public face besides.
#include "drift/monitor.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/check.h"
#include "base/clock.h"
#include "base/quick_hash.h"
#include "config/units.h"
#include "drift/alarm_text.h"
#include "drift/monitor_impl.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("MONI");
constexpr std::uint32_t kBlobTag = make_tag("MONB");
constexpr std::uint32_t kVersion = 1;
const char kCorePiece[] = "monitor";
constexpr std::size_t kShownSignals = 12;
constexpr std::size_t kShownExamples = 5;
constexpr double kDriving = -2.0;  // log10 ratio from which a segment is worth naming

}  // namespace

std::string_view alarm_kind_name(AlarmKind kind) {
  return kind == AlarmKind::kDrift ? "drift" : "harm";
}

std::string_view monitor_state_name(MonitorState state) {
  switch (state) {
    case MonitorState::kCollecting: return "collecting";
    case MonitorState::kCalibrating: return "calibrating";
    case MonitorState::kArmed: return "armed";
    case MonitorState::kRefused: return "refused";
  }
  return "unknown";
}

// The segment of this value; empty when it is yet to be made. Values beyond the bound share
// "<field>=other".
std::optional<std::size_t> Monitor::Impl::find_segment(std::size_t field, std::string_view value) {
  const std::string& name = extractor_.segment_fields()[field];
  const auto is_of = [&](std::size_t i, std::string_view wanted) {
    const std::string_view full = segments_[i]->name();
    return full.size() == name.size() + 1 + wanted.size() && full.ends_with(wanted) &&
           full.starts_with(name) && full[name.size()] == '=';
  };
  const std::uint64_t key = quick_hash(value, field + 1);
  if (const auto known = segment_by_value_.find(key);
      known != segment_by_value_.end() && is_of(known->second, value)) {
    return known->second;
  }
  std::size_t values = 0;
  std::optional<std::size_t> other;
  for (std::size_t i = 1; i < segments_.size(); ++i) {
    if (is_of(i, value)) return segment_by_value_[key] = i;
    if (!segments_[i]->name().ends_with("=other")) ++values;
    if (is_of(i, "other")) other = i;
  }
  if (values < static_cast<std::size_t>(settings_.max_segments)) return std::nullopt;
  return other;
}

// Allocates for a new segment only.
std::size_t Monitor::Impl::segment_index(std::size_t field, std::string_view value) {
  if (const auto known = find_segment(field, value)) return *known;
  const auto values = std::count_if(segments_.begin() + 1, segments_.end(), [](const auto& one) {
    return !one->name().ends_with("=other");
  });
  const bool full = values >= settings_.max_segments;
  segments_.push_back(std::make_unique<Segment>(
      plan_, extractor_.segment_fields()[field] + "=" + (full ? "other" : std::string(value)),
      "segment/" + std::to_string(segments_.size()) + "/", false));
  return segments_.size() - 1;
}

void Monitor::Impl::see(const Observation& event) {
  CHECK(event.signal_count == extractor_.signals().size(), "an observation of another table");
  ++seen_;
  latest_ts_ms_ = std::max(latest_ts_ms_, event.ts_ms);
  if (logprob_ && !event.candidate) {
    label_free_.observe(event.id.view(), event.numbers[*logprob_], event.ts_ms);
  }
}

// All but the numbers of its event in its segments.
RecentRecord& Monitor::Impl::remember(const Observation& event) {
  ++counted_;
  RecentRecord& record = recent_.add();
  record.ts_ms = event.ts_ms;
  record.offset = event.offset;
  record.id = event.id;
  record.word_count = event.word_count;
  record.vector.scale = 0.0F;
  if (event.has_embedding) record.vector = VectorRow::of(event);
  record.segments.fill(0);
  record.segment_events.fill(0);
  std::copy_n(event.words.begin(), event.word_count, record.words.begin());
  return record;
}

std::optional<Alarm> Monitor::Impl::observe(const Observation& event, bool counted) {
  see(event);
  if (!counted) return std::nullopt;
  RecentRecord& record = remember(event);
  std::optional<std::size_t> crossed;
  if (all().observe(event, single_)) crossed = 0;
  record.all_event = all().events();
  for (std::size_t field = 0; field < extractor_.segment_fields().size(); ++field) {
    const std::string_view value = event.segments[field].view();
    if (value.empty()) continue;
    const std::size_t index = segment_index(field, value);
    if (segments_[index]->observe(event, single_) && !crossed) crossed = index;
    record.segments[field] = index + 1;
    record.segment_events[field] = segments_[index]->events();
  }
  if (!crossed) return std::nullopt;
  Alarm alarm;
  alarm.seq = ++alarms_;
  alarm.ts_ms = event.ts_ms;
  alarm.offset = event.offset;
  segments_[*crossed]->attribute(alarm);
  describe(alarm, *crossed);
  after_alarm(*crossed);
  return alarm;
}

void Monitor::Impl::describe(Alarm& alarm, std::size_t segment) const {
  const Segment& source = *segments_[segment];
  for (const auto& each : segments_) each->evidence(alarm.signals);
  std::stable_sort(alarm.signals.begin(), alarm.signals.end(),
                   [](const SignalEvidence& a, const SignalEvidence& b) {
                     return a.log10_ratio > b.log10_ratio;
                   });
  mark_together(alarm.signals);
  const auto driving = std::find_if(alarm.signals.begin(), alarm.signals.end(),
                                    [&alarm](const SignalEvidence& each) {
                                      return each.segment != "all" && each.signal == alarm.signal;
                                    });
  if (driving != alarm.signals.end() && driving->segment != alarm.segment &&
      driving->log10_ratio > kDriving) {
    alarm.driven_by = driving->segment;
  }
  if (alarm.signals.size() > kShownSignals) alarm.signals.resize(kShownSignals);
  std::vector<const RecentRecord*> since;
  std::vector<std::pair<double, const RecentRecord*>> payers;
  for (const RecentRecord* record : recent_.newest(RecentRecords::kKept)) {
    std::uint64_t event = segment == 0 ? record->all_event : 0;
    for (std::size_t f = 0; f < kMaxSegmentFields; ++f) {
      if (segment != 0 && record->segments[f] == segment + 1) event = record->segment_events[f];
    }
    if (event == 0 || source.events() - event >= alarm.delay_events) continue;
    since.push_back(record);
    payers.emplace_back(source.paid(event), record);
  }
  describe_text(alarm, since);
  std::stable_sort(payers.begin(), payers.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [paid, record] : payers) {
    if (alarm.example_ids.size() == kShownExamples || paid <= 0.0) break;
    alarm.example_ids.emplace_back(record->id.view());
  }
  alarm.promise_ms = promise_ms();
  alarm.summary = drift_sentence(alarm);
}

void Monitor::Impl::describe_text(Alarm& alarm,
                                  const std::vector<const RecentRecord*>& since) const {
  if (const WordModel* words = all().words()) {
    WordChanges changes = word_changes(*words, since);
    alarm.words_gained = std::move(changes.gained);
    alarm.words_lost = std::move(changes.lost);
  }
  const Projections* projections = all().projections();
  if (projections == nullptr) return;
  std::vector<const VectorRow*> current;
  for (const RecentRecord* record : since) {
    if (record->vector.present()) current.push_back(&record->vector);
  }
  alarm.embedding = embedding_shift(all().reference_vectors(), current, *projections);
}

// Latched: what alarmed takes a provisional reference from the records to come, and so does all
// that would only see the same drift again.
void Monitor::Impl::after_alarm(std::size_t segment) {
  reason_ = "provisional, after drift alarm " + std::to_string(alarms_);
  if (segment == 0) label_free_.restart();
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (segment == 0 || i == segment || i == 0) segments_[i]->collect(true);
  }
}

std::optional<Alarm> Monitor::Impl::observe_outcome(const Outcome& outcome) {
  CHECK(outcome.metric < harm_.size(), "an outcome of an unknown metric");
  const bool complete = all().state() != MonitorState::kCollecting;
  latest_ts_ms_ = std::max(latest_ts_ms_, outcome.ts_ms);
  if (label_metric_ == outcome.metric) {
    label_free_.observe_label(outcome.id.view(), 1.0 - outcome.value);
  }
  std::optional<Alarm> alarm = harm_[outcome.metric].observe(outcome, complete);
  if (!alarm) return alarm;
  alarm->seq = ++alarms_;
  alarm->promise_ms = promise_ms();
  alarm->summary += "; by chance at most once in " +
                    config::format_duration(static_cast<std::int64_t>(alarm->promise_ms));
  return alarm;
}

void Monitor::Impl::tick(std::int64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  for (auto& segment : segments_) segment->tick();
}

void Monitor::Impl::rereference(std::string_view reason, bool renew_harm) {
  reason_ = reason;
  for (auto& segment : segments_) segment->collect(false);
  if (!renew_harm) return;
  for (HarmWatch& harm : harm_) harm.renew(latest_ts_ms_);
  label_free_.renew();
}

MonitorStatus Monitor::Impl::status() const {
  MonitorStatus status;
  status.state = all().state();
  status.provisional = all().provisional();
  status.collected = all().collected();
  status.reference_size = settings_.reference_size;
  if (status.state == MonitorState::kCollecting) {
    if (const auto gap = all().gap_ms()) {
      status.armed_in_s =
          *gap * static_cast<double>(settings_.reference_size - all().collected()) / 1000.0;
    }
  }
  status.reason = reason_;
  status.since_ts_ms = all().since_ts_ms();
  status.seen = seen_;
  status.counted = counted_;
  status.alarms = alarms_;
  for (const auto& segment : segments_) segment->status(status.signals);
  for (const HarmWatch& harm : harm_) status.harm.push_back(harm.status());
  const LabelFreeStatus accuracy = label_free_.status();
  status.accuracy = {accuracy.state,           accuracy.learned,  accuracy.reference,
                     accuracy.reference_lower, accuracy.records,  accuracy.labels,
                     accuracy.unanchored,      accuracy.estimate, accuracy.lower,
                     accuracy.upper,           accuracy.declined, accuracy.since_ts_ms};
  return status;
}

std::vector<SignalReport> Monitor::Impl::reports() const {
  std::vector<SignalReport> all_reports;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    std::vector<SignalReport> some;
    segments_[i]->reports(some);
    for (SignalReport& report : some) {
      if (i == 0 || report.log10_ratio > kDriving) all_reports.push_back(std::move(report));
    }
  }
  return all_reports;
}

std::vector<StatePiece> Monitor::Impl::pieces(SaveMode mode) const {
  std::vector<StatePiece> out;
  ByteWriter core(kTag, kVersion);
  core.put(fingerprint_);
  core.put(alarms_);
  core.put(seen_);
  core.put(counted_);
  core.put(latest_ts_ms_);
  core.put(recent_.added());
  core.put_text(reason_);
  core.put(static_cast<std::uint64_t>(segments_.size()));
  for (const auto& segment : segments_) core.put_text(segment->name());
  out.push_back({kCorePiece, core.take()});
  sessions_.save(mode, out);
  recent_.save(mode, out);
  for (const auto& segment : segments_) segment->save(mode, out);
  for (const HarmWatch& harm : harm_) harm.save(mode, out);
  label_free_.save(mode, out);
  return out;
}

void Monitor::Impl::mark_saved() {
  sessions_.mark_saved();
  recent_.mark_saved();
  for (auto& segment : segments_) segment->mark_saved();
  for (HarmWatch& harm : harm_) harm.mark_saved();
  label_free_.mark_saved();
}

Status Monitor::Impl::restore(const PieceMap& pieces) {
  const auto piece = pieces.find(kCorePiece);
  if (piece == pieces.end()) return fail(Code::kCorrupt, "drift state: no piece monitor");
  ByteReader in(piece->second, kTag, kVersion, "drift monitor");
  const auto print = in.get<std::uint64_t>();
  if (in.ok() && print != fingerprint_) {
    return fail(Code::kConflict,
                "drift: signals, segments or harm metrics differ from the saved state's; put them "
                "back, or start a new reference (trimtab re-reference)");
  }
  in.get_into(alarms_);
  in.get_into(seen_);
  in.get_into(counted_);
  in.get_into(latest_ts_ms_);
  const auto added = in.get<std::uint64_t>();
  reason_ = in.get_text();
  const auto segments = in.get<std::uint64_t>();
  if (segments < 1 || segments > 2'000) in.reject();
  segments_.clear();
  segment_by_value_.clear();
  for (std::uint64_t i = 0; in.ok() && i < segments; ++i) {
    segments_.push_back(std::make_unique<Segment>(plan_, in.get_text(),
                                                  "segment/" + std::to_string(i) + "/", i == 0));
  }
  TRIMTAB_CHECK_OK(in.finish());
  TRIMTAB_CHECK_OK(sessions_.restore(pieces));
  TRIMTAB_CHECK_OK(recent_.restore(pieces, added));
  for (auto& segment : segments_) TRIMTAB_CHECK_OK(segment->restore(pieces));
  for (HarmWatch& harm : harm_) TRIMTAB_CHECK_OK(harm.restore(pieces));
  TRIMTAB_CHECK_OK(label_free_.restore(pieces));
  return {};
}

// ---- Monitor -------------------------------------------------------------------------------

Result<Monitor> Monitor::create(const config::DriftSettings& settings) {
  TRIMTAB_CHECK_OK(check_settings(settings));
  TRIMTAB_TRY(SignalExtractor extractor, SignalExtractor::create(settings));
  return Monitor(std::make_unique<Impl>(settings, std::move(extractor)));
}

Monitor::Monitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;
Monitor::~Monitor() = default;

std::optional<Alarm> Monitor::observe(const Observation& event) { return impl_->observe(event); }
void Monitor::take(std::span<const MonitorInput> inputs, std::vector<RaisedAlarm>& alarms) {
  impl_->take(inputs, alarms);
}
std::optional<Alarm> Monitor::observe_outcome(const Outcome& outcome) {
  return impl_->observe_outcome(outcome);
}
void Monitor::tick(std::int64_t now_ms) { impl_->tick(now_ms); }
void Monitor::rereference(std::string_view reason) { impl_->rereference(reason, true); }
void Monitor::champion_changed(std::string_view reason) { impl_->rereference(reason, false); }
MonitorState Monitor::state() const { return impl_->all().state(); }
MonitorStatus Monitor::status() const { return impl_->status(); }
std::vector<SignalReport> Monitor::reports() const { return impl_->reports(); }
const SignalExtractor& Monitor::extractor() const { return impl_->extractor_; }
const std::vector<std::string>& Monitor::harm_metrics() const { return impl_->harm_names_; }

bool Monitor::harm_latched() const {
  return std::any_of(impl_->harm_.begin(), impl_->harm_.end(),
                     [](const HarmWatch& harm) { return harm.latched(); });
}

bool Monitor::accuracy_declined() const { return impl_->label_free_.declined(); }

bool Monitor::harm_armed(std::size_t metric) const {
  CHECK(metric < impl_->harm_.size(), "an unknown harm metric");
  return impl_->harm_[metric].armed();
}

bool Monitor::harm_latched(std::string_view metric) const {
  return std::any_of(impl_->harm_.begin(), impl_->harm_.end(), [&](const HarmWatch& harm) {
    return harm.name() == metric && harm.latched();
  });
}

std::optional<std::size_t> Monitor::harm_metric(std::string_view name) const {
  for (std::size_t i = 0; i < impl_->harm_names_.size(); ++i) {
    if (impl_->harm_names_[i] == name) return i;
  }
  return std::nullopt;
}

std::vector<StatePiece> Monitor::save_changed() {
  auto pieces = impl_->pieces(SaveMode::kChanged);
  impl_->mark_saved();
  return pieces;
}

Status Monitor::restore_pieces(const std::vector<StatePiece>& pieces) {
  PieceMap map;
  for (const StatePiece& piece : pieces) map[piece.name] = piece.bytes;
  // Into a fresh one: a failure leaves this monitor as it was.
  TRIMTAB_TRY(Monitor fresh, create(impl_->settings_));
  TRIMTAB_CHECK_OK(fresh.impl_->restore(map));
  *this = std::move(fresh);
  return {};
}

std::string Monitor::save() const {
  const auto pieces = impl_->pieces(SaveMode::kAll);
  ByteWriter out(kBlobTag, kVersion);
  out.put(static_cast<std::uint64_t>(pieces.size()));
  for (const StatePiece& piece : pieces) {
    out.put_text(piece.name);
    out.put_text(piece.bytes);
  }
  return out.take();
}

Status Monitor::restore(std::string_view bytes) {
  ByteReader in(bytes, kBlobTag, kVersion, "drift state");
  const auto count = in.get<std::uint64_t>();
  std::vector<StatePiece> pieces;
  for (std::uint64_t i = 0; in.ok() && i < count; ++i) {
    std::string name = in.get_text();
    pieces.push_back({std::move(name), in.get_text()});
  }
  TRIMTAB_CHECK_OK(in.finish());
  return restore_pieces(pieces);
}

}  // namespace trimtab::drift
