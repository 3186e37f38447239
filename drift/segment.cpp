// The life of a segment: collecting rows, status. Watching events: segment_run.cpp; arming:
// segment_arming.cpp; what an alarm tells: segment_attribution.cpp; saving: segment_state.cpp.
#include "drift/segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace trimtab::drift {
namespace {

constexpr std::size_t kMaxNames = 4096;  // category names and words remembered while collecting
constexpr double kHistorySteps = 16;  // of log10, in one

}  // namespace

double Segment::Watch::ratio_of(double some_evidence) const {
  if (!(threshold_ms > 0.0) || some_evidence <= 0.0) return -30.0;
  return std::max(-30.0, std::log10(some_evidence / threshold_ms));
}

std::vector<float> Segment::Watch::history_points() const {
  std::vector<float> all;
  for (std::size_t i = 0; i < points; ++i) {
    all.push_back(static_cast<float>(history[i]) / static_cast<float>(kHistorySteps));
  }
  return all;
}

Segment::Segment(std::shared_ptr<const SegmentPlan> plan, std::string name, std::string prefix,
                 bool with_text)
    : plan_(std::move(plan)), name_(std::move(name)), prefix_(std::move(prefix)) {
  if (!with_text) return;
  text_ = std::make_unique<Text>();
  for (const Signal& signal : plan_->signals) {
    text_->wants_words |= signal.kind == SignalKind::kNovelty;
    text_->wants_vectors |= signal.kind == SignalKind::kEmbedding;
  }
}

std::optional<double> Segment::gap_ms() const {
  if (rows_.size() < 2) return std::nullopt;
  const double span = static_cast<double>(rows_[rows_.size() - 1].ts_ms - rows_[0].ts_ms);
  return std::max(span, 0.0) / static_cast<double>(rows_.size() - 1);
}

// ---- collecting ----------------------------------------------------------------------------

void Segment::collect(bool provisional) {
  state_ = MonitorState::kCollecting;
  provisional_ = provisional;
  since_ts_ms_ = 0;
  watches_.clear();
  channels_.clear();
  bets_.clear();
  if (text_) {
    text_->words.reset();
    text_->projections.reset();
    text_->kept_vectors.clear();
  }
  reference_changed_ = true;
  forget_rows();
}

void Segment::forget_rows() {
  rows_.clear();
  names_.clear();
  known_names_.clear();
  if (text_) text_->forget_rows();
}

void Segment::Text::forget_rows() {
  word_rows.clear();
  vector_rows.clear();
  dictionary.clear();
  known_words.clear();
}

void Segment::keep_row(const Observation& event) {
  if (rows_.empty()) since_ts_ms_ = event.ts_ms;
  Row row;
  row.ts_ms = event.ts_ms;
  for (std::size_t i = 0; i < plan_->signals.size(); ++i) {
    row.cells[i] = plan_->signals[i].kind == SignalKind::kCategorical
                       ? event.categories[i]
                       : std::bit_cast<std::uint64_t>(event.numbers[i]);
  }
  rows_.push_back(row);
  if (text_ && text_->wants_words) text_->word_rows.push_back(WordRow::of(event));
  if (text_ && text_->wants_vectors) text_->vector_rows.push_back(VectorRow::of(event));
  keep_names(event);
}

void Segment::keep_names(const Observation& event) {
  for (std::size_t i = 0; i < plan_->signals.size(); ++i) {
    if (plan_->signals[i].kind != SignalKind::kCategorical || event.categories[i] == 0) continue;
    if (names_.size() >= kMaxNames) break;
    if (known_names_.emplace(i, event.categories[i]).second) {
      names_.push_back({i, event.categories[i], event.labels[i]});
    }
  }
  if (!text_ || !text_->wants_words) return;
  for (std::size_t i = 0; i < event.word_count && text_->dictionary.size() < kMaxNames; ++i) {
    const std::uint32_t hash = word_hash(event.words[i]);
    if (text_->known_words.insert(hash).second) text_->dictionary.push_back({hash, event.words[i]});
  }
}

// ---- watching ------------------------------------------------------------------------------

void Segment::tick() {
  if (state_ == MonitorState::kCalibrating) arm();
}

// Keeps the history bounded by joining neighbours and doubling the interval.
void Segment::note_history() {
  bool full = false;
  for (Watch& watch : watches_) {
    const double steps = kHistorySteps * watch.ratio_of(watch.interval_evidence);
    watch.history[watch.points++] = static_cast<std::int8_t>(std::clamp(steps, -128.0, 127.0));
    watch.interval_evidence = 0.0;
    full |= watch.points >= kHistory;
  }
  if (!full) return;
  history_every_ *= 2;
  for (Watch& watch : watches_) {
    watch.points /= 2;
    for (std::size_t i = 0; i < watch.points; ++i) {
      watch.history[i] = std::max(watch.history[2 * i], watch.history[2 * i + 1]);
    }
  }
}

std::vector<const VectorRow*> Segment::reference_vectors() const {
  std::vector<const VectorRow*> rows;
  if (!text_) return rows;
  for (const VectorRow& row : text_->kept_vectors) rows.push_back(&row);
  return rows;
}

void Segment::evidence(std::vector<SignalEvidence>& out) const {
  for (const Watch& watch : watches_) {
    if (!watch.armed) continue;
    out.push_back({plan_->signals[watch.signal].name, name_, watch.log10_ratio()});
  }
}

void Segment::status(std::vector<SignalStatus>& out) const {
  if (watches_.empty()) {
    for (const Signal& signal : plan_->signals) {
      if (is_text(signal) && !text_) continue;
      SignalStatus status;
      status.name = signal.name;
      status.segment = name_;
      status.state = monitor_state_name(state_);
      status.threshold = plan_->threshold_ms;
      status.reference_size = collected();
      out.push_back(std::move(status));
    }
    return;
  }
  for (const Watch& watch : watches_) {
    SignalStatus status;
    status.name = plan_->signals[watch.signal].name;
    status.segment = name_;
    status.state = !watch.armed ? "refused" : watch.alarms ? "armed" : "watched";
    if (watch.reason) status.reason = *watch.reason;
    status.evidence = watch.evidence;
    status.threshold = watch.threshold_ms;
    status.theta = static_cast<double>(watch.theta);
    status.thin = watch.thin;
    status.reference_size = watch.channels == 0 ? 0 : bets_of(watch, 0, 0).reference().size();
    status.reference_ts_ms = reference_ts_ms_;
    status.events = watch.fed;
    status.history = watch.history_points();
    out.push_back(std::move(status));
  }
}

}  // namespace trimtab::drift
