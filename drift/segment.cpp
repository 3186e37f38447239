// The life of a segment: collecting rows, watching events, status. Arming: segment_arming.cpp;
// what an alarm tells: segment_attribution.cpp; saving: segment_state.cpp.
#include "drift/segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace trimtab::drift {
namespace {

constexpr std::size_t kMaxNames = 4096;  // category names and words remembered while collecting
constexpr std::uint64_t kCheckpointEvery = 128;
constexpr double kQuiet = 0.01;       // of the threshold: below it a rise has not begun
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

bool Segment::observe(const Observation& event) {
  tick();
  const std::int64_t ts_ms = marks_.note({event.ts_ms, event.offset});
  if (state_ == MonitorState::kCollecting) {
    if (event.candidate) return false;  // a reference is the champion's
    keep_row(event);
    if (collected() >= plan_->reference_size) state_ = MonitorState::kCalibrating;
    return false;
  }
  if (state_ != MonitorState::kArmed) return false;
  std::optional<Projections::Values> projected;
  double novelty = std::numeric_limits<double>::quiet_NaN();
  if (text_ && text_->projections && event.has_embedding) {
    projected = text_->projections->project(VectorRow::of(event));
  }
  if (text_ && text_->words) novelty = text_->words->novelty(WordRow::of(event));
  Fed fed;
  fed.ts_ms = ts_ms;
  fed.candidate = event.candidate;
  if (projected) fed.projected = &*projected;
  look_up(event, novelty, fed);
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i].armed) feed(watches_[i], fed.bins[i], fed);
  }
  RankBets::update_all({fed.steps.data(), fed.count});
  bool any = false;
  for (Watch& watch : watches_) {
    if (!watch.armed) continue;
    watch.evidence = evidence_of(watch);
    watch.interval_evidence = std::max(watch.interval_evidence, watch.evidence);
    if (events() - watch.checkpoint_event >= kCheckpointEvery) note_checkpoint(watch);
    any |= watch.alarms && watch.evidence >= watch.threshold_ms;
  }
  note_history();
  return any;
}

// The mean of its channels' evidence.
double Segment::evidence_of(const Watch& watch) const {
  if (watch.channels == 1) return static_cast<double>(channel_of(watch, 0).state.evidence);
  double sum = 0.0;
  for (std::size_t c = 0; c < watch.channels; ++c) {
    sum += static_cast<double>(channel_of(watch, c).state.evidence);
  }
  return sum / static_cast<double>(watch.channels);
}

// The bins of all signals first, so that the searches overlap and what the bets need of each is on
// its way when its turn comes: 20 signals' tables are larger than the nearest cache.
void Segment::look_up(const Observation& event, double novelty, Fed& fed) const {
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    const Watch& watch = watches_[i];
    if (!watch.armed) continue;
    const auto* channel = reinterpret_cast<const char*>(&channels_[watch.first_channel]);
    for (std::size_t line = 0; line < sizeof(RankState); line += 64) {
      __builtin_prefetch(channel + line, 1);
    }
    const std::size_t cell = watch.cells > 1 ? seasons_.cell_of(fed.ts_ms) : 0;
    const RankBets& bets = bets_of(watch, cell, 0);
    std::size_t bin = 0;
    switch (watch.kind) {
      case SignalKind::kCategorical:
        bin = bets.reference().bin_of_category(event.categories[watch.signal]);
        break;
      case SignalKind::kNumeric: bin = bets.reference().bin_of(event.numbers[watch.signal]); break;
      case SignalKind::kNovelty: bin = bets.reference().bin_of(novelty); break;
      case SignalKind::kEmbedding: break;  // a bin a channel
    }
    fed.bins[i] = static_cast<std::uint8_t>(bin);
    bets.prefetch(bin);
  }
}

// Notes the event's steps for the watch. REQUIRES: watch.armed.
void Segment::feed(Watch& watch, std::uint8_t bin, Fed& fed) {
  const std::uint64_t number = events();
  Channel* channels = &channels_[watch.first_channel];
  const bool embedding = watch.kind == SignalKind::kEmbedding;
  const bool absent =
      (watch.about_output && fed.candidate) || (embedding && fed.projected == nullptr);
  if (absent || ++watch.phase < watch.thin) {
    channels[0].bins.set(number, BinRing::kNotFed);
    return;
  }
  watch.phase = 0;
  const auto dt = static_cast<float>(std::max<std::int64_t>(0, fed.ts_ms - watch.last_ts_ms));
  const auto step =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(number - watch.last_event, kMostAge));
  watch.last_ts_ms = std::max(watch.last_ts_ms, fed.ts_ms);
  watch.last_event = number;
  ++watch.fed;
  const std::size_t cell = watch.cells > 1 ? seasons_.cell_of(fed.ts_ms) : 0;
  for (std::size_t c = 0; c < watch.channels; ++c) {
    const RankBets& bets = bets_of(watch, cell, c);
    if (embedding) {
      bin = static_cast<std::uint8_t>(
          bets.reference().bin_of(static_cast<double>((*fed.projected)[c])));
    }
    channels[c].bins.set(number, bin);
    fed.steps[fed.count++] = {&bets, &channels[c].state, dt, step, bin};
  }
}

// Taken while the evidence is low, so that an alarm's trail shows its whole rise, and in any case
// before the bins since the last one are overwritten. An alarm that is due keeps its trail.
void Segment::note_checkpoint(Watch& watch) {
  const std::uint64_t span = events() - watch.checkpoint_event;
  const bool due = watch.alarms && watch.evidence >= watch.threshold_ms;
  if (span + 1 < kBinRing && watch.evidence > kQuiet * watch.threshold_ms) return;
  if (span < kBinRing && due) return;
  for (std::size_t c = 0; c < watch.channels; ++c) {
    Channel& channel = channels_[watch.first_channel + c];
    channel.checkpoint = channel.state;
  }
  watch.checkpoint_event = events();
  watch.checkpoint_last_event = watch.last_event;
  watch.checkpoint_last_ts_ms = watch.last_ts_ms;
}

// Keeps the history bounded by joining neighbours and doubling the interval.
void Segment::note_history() {
  const std::uint64_t since = events() - armed_at_;
  if (since == 0 || since % history_every_ != 0) return;
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
