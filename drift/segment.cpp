// The life of a segment's detectors: collecting, arming, watching, attribution. Above 400 lines
// because the four share every member. Saving and restoring: segment_state.cpp.
#include "drift/segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "base/check.h"
#include "drift/derivation.h"

namespace trimtab::drift {
namespace {

constexpr std::uint8_t kNotFed = 255;
constexpr std::size_t kSparseLevels = 3;
constexpr std::size_t kSparseMarks = 128;  // a level
// Events between two marks of a level: 8, 64, 512.
constexpr std::uint64_t sparse_every(std::size_t level) { return 8ULL << (3 * level); }
constexpr std::size_t kMaxNames = 4096;  // category names and words remembered while collecting
constexpr std::size_t kFitEvery = 3;     // every third row fits the projections, others make bins
constexpr std::uint64_t kCheckpointEvery = 128;
constexpr double kQuiet = -2.0;     // log10(evidence / threshold) below which a rise has not begun
constexpr double kGoodTheta = 0.8;  // a pooled reference that calibrates so well needs no seasons
constexpr double kNeverThreshold = 1e29;  // beyond what float wealth can reach

bool is_text(const Signal& signal) {
  return signal.kind == SignalKind::kNovelty || signal.kind == SignalKind::kEmbedding;
}

}  // namespace

double Segment::Watch::log10_ratio() const {
  if (!(threshold_ms > 0.0) || evidence <= 0.0) return -30.0;
  return std::max(-30.0, std::log10(evidence / threshold_ms));
}

std::size_t Segment::Watch::leading_channel() const {
  std::size_t best = 0;
  for (std::size_t c = 1; c < states.size(); ++c) {
    if (states[c].evidence > states[best].evidence) best = c;
  }
  return best;
}

Segment::Segment(std::shared_ptr<const SegmentPlan> plan, std::string name, std::string prefix,
                 bool with_text)
    : plan_(std::move(plan)),
      name_(std::move(name)),
      prefix_(std::move(prefix)),
      with_text_(with_text) {
  for (const Signal& signal : plan_->signals) {
    wants_words_ |= with_text_ && signal.kind == SignalKind::kNovelty;
    wants_vectors_ |= with_text_ && signal.kind == SignalKind::kEmbedding;
  }
  recent_marks_.reserve(kRecentMarks);
  sparse_marks_.reserve(kSparseLevels * kSparseMarks);
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
  words_.reset();
  projections_.reset();
  kept_vectors_.clear();
  reference_changed_ = true;
  forget_rows();
}

void Segment::forget_rows() {
  rows_.clear();
  word_rows_.clear();
  vector_rows_.clear();
  names_.clear();
  dictionary_.clear();
  known_names_.clear();
  known_words_.clear();
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
  if (wants_words_) word_rows_.push_back(WordRow::of(event));
  if (wants_vectors_) vector_rows_.push_back(VectorRow::of(event));
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
  if (!wants_words_) return;
  for (std::size_t i = 0; i < event.word_count && dictionary_.size() < kMaxNames; ++i) {
    const std::uint32_t hash = word_hash(event.words[i]);
    if (known_words_.insert(hash).second) dictionary_.push_back({hash, event.words[i]});
  }
}

// ---- arming --------------------------------------------------------------------------------

void Segment::fit_text() {
  if (wants_words_) {
    std::vector<const WordRow*> rows;
    for (const WordRow& row : word_rows_) rows.push_back(&row);
    words_ = WordModel::fit(rows);
    const std::vector<NamedWord> names(dictionary_.begin(), dictionary_.end());
    words_->keep_top(names);
  }
  if (wants_vectors_) {
    std::vector<const VectorRow*> rows;
    for (std::size_t i = 0; i < vector_rows_.size(); i += kFitEvery) {
      rows.push_back(&vector_rows_[i]);
    }
    constexpr std::uint64_t kSeed = 0x70726f6a;  // fixed: the same records give the same directions
    projections_ = Projections::fit(rows, kSeed);
    kept_vectors_.clear();
    const std::size_t every = (vector_rows_.size() + kShiftVectors - 1) / kShiftVectors;
    std::size_t seen = 0;
    for (std::size_t i = 0; i < vector_rows_.size(); ++i) {
      // Rows that fitted the directions stand out along them: they are no sample of the reference.
      if (i % kFitEvery == 0 || !vector_rows_[i].present()) continue;
      if (seen++ % every == 0) kept_vectors_.push_back(vector_rows_[i]);
    }
  }
}

// Values of a numeric signal in order, one vector a channel. Rows that fitted the projections are
// left out of theirs; so are rows without a vector.
std::vector<std::vector<double>> Segment::channel_values(std::size_t signal) const {
  const SignalKind kind = plan_->signals[signal].kind;
  std::vector<std::vector<double>> values(kind == SignalKind::kEmbedding ? kProjections : 1);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (kind == SignalKind::kNovelty) {
      const auto novelty = words_->novelty_within(word_rows_[i], i);
      if (novelty) values[0].push_back(*novelty);
    } else if (kind == SignalKind::kEmbedding) {
      if (i % kFitEvery == 0 || !vector_rows_[i].present()) continue;
      const Projections::Values projected = projections_->project(vector_rows_[i]);
      for (std::size_t c = 0; c < kProjections; ++c) {
        values[c].push_back(static_cast<double>(projected[c]));
      }
    } else {
      values[0].push_back(std::bit_cast<double>(rows_[i].cells[signal]));
    }
  }
  return values;
}

Reference Segment::category_reference(std::size_t signal, std::size_t from, std::size_t to,
                                      std::size_t step) const {
  std::map<std::uint64_t, CategoryCount> counts;
  std::int64_t missing = 0;
  for (std::size_t i = from; i < to; i += step) {
    const std::uint64_t hash = rows_[i].cells[signal];
    if (hash == 0) {
      ++missing;
    } else {
      ++counts[hash].count;
    }
  }
  for (const CategoryName& name : names_) {
    const auto at = counts.find(name.hash);
    if (name.signal == signal && at != counts.end()) at->second.label = name.label.view();
  }
  std::vector<CategoryCount> all;
  for (auto& [hash, entry] : counts) {
    entry.hash = hash;
    all.push_back(std::move(entry));
  }
  return Reference::from_categories(std::move(all), missing);
}

CalibrationSample Segment::sample_of(std::size_t signal,
                                     std::vector<std::vector<double>>& values) const {
  CalibrationSample sample;
  if (plan_->signals[signal].kind == SignalKind::kCategorical) {
    sample.size = rows_.size();
    sample.build = [this, signal](std::size_t, std::size_t from, std::size_t to, std::size_t step) {
      return std::vector<Reference>{category_reference(signal, from, to, step)};
    };
    sample.bin = [this, signal](const Reference& reference, std::size_t, std::size_t event) {
      return reference.bin_of_category(rows_[event].cells[signal]);
    };
    return sample;
  }
  values = channel_values(signal);
  sample.size = values[0].size();
  sample.channels = values.size();
  sample.build = [&values](std::size_t channel, std::size_t from, std::size_t to,
                           std::size_t step) {
    std::vector<double> part;
    for (std::size_t i = from; i < to; i += step) part.push_back(values[channel][i]);
    return std::vector<Reference>{Reference::from_numbers(std::move(part))};
  };
  sample.bin = [&values](const Reference& reference, std::size_t channel, std::size_t event) {
    return reference.bin_of(values[channel][event]);
  };
  return sample;
}

// Events of even days, then those of odd days: either half has all hours, and each day stays whole.
std::vector<std::size_t> Segment::alternate_days() const {
  constexpr std::int64_t kDayMs = 86'400'000;
  std::vector<std::size_t> order;
  for (const std::int64_t parity : {0, 1}) {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (((rows_[i].ts_ms - rows_[0].ts_ms) / kDayMs & 1) == parity) order.push_back(i);
    }
  }
  return order;
}

Reference Segment::numeric_reference(std::size_t signal,
                                     const std::vector<std::size_t>& events) const {
  std::vector<double> part;
  for (const std::size_t i : events) {
    part.push_back(std::bit_cast<double>(rows_[i].cells[signal]));
  }
  return Reference::from_numbers(std::move(part));
}

// A signal's events by cell of the week; `order` maps the sample's events to rows. Numbers get bins
// of equal mass in every cell, so that the learned bet reads ranks; categories keep the pooled
// bins.
CalibrationSample Segment::seasonal_sample(std::size_t signal,
                                           const std::vector<std::size_t>& order) const {
  const bool categorical = plan_->signals[signal].kind == SignalKind::kCategorical;
  CalibrationSample sample;
  sample.size = order.size();
  sample.cells = seasons_.cells();
  sample.cell = [this, &order](std::size_t event) {
    return seasons_.cell_of(rows_[order[event]].ts_ms);
  };
  sample.build = [this, &order, signal, categorical](std::size_t, std::size_t from, std::size_t to,
                                                     std::size_t step) {
    std::vector<std::vector<std::size_t>> by_cell(seasons_.cells());
    for (std::size_t i = from; i < to; i += step) {
      by_cell[0].push_back(order[i]);
      const std::size_t cell = seasons_.cell_of(rows_[order[i]].ts_ms);
      if (cell > 0) by_cell[cell].push_back(order[i]);
    }
    std::vector<Reference> references;
    for (const auto& events : by_cell) {
      // A cell that this part of the reference hardly saw is compared with all hours.
      const bool few = events.size() < static_cast<std::size_t>(kLeastOfGroup) / 4;
      const auto& used = few ? by_cell[0] : events;
      if (!categorical) {
        references.push_back(numeric_reference(signal, used));
        continue;
      }
      if (references.empty()) references.push_back(category_reference(signal, from, to, step));
      std::vector<std::int64_t> counts(references[0].bins(), 0);
      for (const std::size_t i : used) {
        ++counts[references[0].bin_of_category(rows_[i].cells[signal])];
      }
      Reference part = references[0].recounted(std::move(counts));
      if (&events == &by_cell[0]) {
        references[0] = std::move(part);
      } else {
        references.push_back(std::move(part));
      }
    }
    return references;
  };
  sample.bin = [this, &order, signal, categorical](const Reference& reference, std::size_t,
                                                   std::size_t event) {
    const std::uint64_t value = rows_[order[event]].cells[signal];
    return categorical ? reference.bin_of_category(value)
                       : reference.bin_of(std::bit_cast<double>(value));
  };
  return sample;
}

Segment::Watch Segment::make_watch(std::size_t signal, const CalibrationSample& sample) const {
  const RankOptions options{.half_life_events = plan_->half_life_events,
                            .min_effect = plan_->signals[signal].min_effect};
  Watch watch;
  watch.signal = signal;
  watch.last_ts_ms = reference_ts_ms_;
  watch.last_event = events_;
  if (sample.size < static_cast<std::size_t>(kMinReference) / 2) {
    watch.calibration.reason = "only " + std::to_string(sample.size) +
                               " reference records carry it; at least 250 are needed";
    return watch;
  }
  watch.calibration = calibrate(sample, options, plan_->min_theta);
  watch.threshold_ms = raised_threshold(watch.calibration, plan_->threshold_ms,
                                        gap_ms_ * static_cast<double>(watch.calibration.thin));
  if (watch.calibration.armed && watch.threshold_ms >= kNeverThreshold) {
    watch.calibration.armed = false;
    watch.calibration.reason += "; the raised threshold is out of reach";
  }
  watch.channels = sample.channels;
  watch.cells = sample.cells;
  std::vector<std::vector<Reference>> of_channel;
  for (std::size_t c = 0; c < sample.channels; ++c) {
    of_channel.push_back(sample.build(c, 0, sample.size, 1));
  }
  for (std::size_t cell = 0; cell < sample.cells; ++cell) {
    for (auto& references : of_channel) {
      watch.bets.push_back(std::make_shared<const RankBets>(std::move(references[cell]), options));
    }
  }
  watch.states.resize(sample.channels);
  watch.checkpoint = {watch.states, events_, watch.last_event, watch.last_ts_ms};
  watch.bins.assign(kBinRing * sample.channels, kNotFed);
  watch.history.reserve(kHistory);
  return watch;
}

Segment::Watch Segment::make_watch(std::size_t signal) {
  std::vector<std::vector<double>> values;
  Watch pooled = make_watch(signal, sample_of(signal, values));
  const bool holds = pooled.calibration.armed && pooled.calibration.thin == 1 &&
                     pooled.calibration.theta >= kGoodTheta;
  if (holds || !plan_->seasons || seasons_.cells() == 1 || is_text(plan_->signals[signal])) {
    return pooled;
  }
  const auto order = alternate_days();
  Watch seasonal = make_watch(signal, seasonal_sample(signal, order));
  if (!seasonal.calibration.armed || seasonal.threshold_ms >= pooled.threshold_ms) {
    if (pooled.calibration.armed || !seasonal.calibration.armed) return pooled;
  }
  const std::string said = seasonal.calibration.reason;
  seasonal.calibration.reason = "references by hour of the week, " +
                                std::to_string(seasonal.cells) + " cells" +
                                (said.empty() ? "" : "; " + said);
  return seasonal;
}

void Segment::arm() {
  CHECK(!rows_.empty(), "arming without rows");
  gap_ms_ = gap_ms().value_or(0.0);
  reference_size_ = collected();
  reference_ts_ms_ = rows_[0].ts_ms;
  for (const Row& row : rows_) reference_ts_ms_ = std::max(reference_ts_ms_, row.ts_ms);
  fit_text();
  std::vector<std::int64_t> times;
  for (const Row& row : rows_) times.push_back(row.ts_ms);
  seasons_ = plan_->seasons ? Seasons::plan(times, plan_->utc_offset_hours) : Seasons();
  watches_.clear();
  bool any = false;
  for (std::size_t i = 0; i < plan_->signals.size(); ++i) {
    if (is_text(plan_->signals[i]) && !with_text_) continue;
    watches_.push_back(make_watch(i));
    any |= watches_.back().calibration.armed && plan_->signals[i].alarm;
  }
  state_ = any ? MonitorState::kArmed : MonitorState::kRefused;
  armed_at_ = events_;
  history_every_ = 16;
  reference_changed_ = true;
  forget_rows();
}

void Segment::tick() {
  if (state_ == MonitorState::kCalibrating) arm();
}

// ---- watching ------------------------------------------------------------------------------

void Segment::note_mark(const Mark& mark) {
  const auto put = [&mark](auto& marks, std::size_t slot) {
    while (marks.size() <= slot) marks.push_back({});
    marks.set(slot, mark);
  };
  put(recent_marks_, events_ % kRecentMarks);
  for (std::size_t level = 0; level < kSparseLevels; ++level) {
    if (events_ % sparse_every(level) != 0) return;
    put(sparse_marks_, level * kSparseMarks + events_ / sparse_every(level) % kSparseMarks);
  }
}

bool Segment::observe(const Observation& event) {
  tick();
  ++events_;
  note_mark({event.ts_ms, event.offset});
  if (state_ == MonitorState::kCollecting) {
    if (event.candidate) return false;  // a reference is the champion's
    keep_row(event);
    if (collected() >= plan_->reference_size) state_ = MonitorState::kCalibrating;
    return false;
  }
  if (state_ != MonitorState::kArmed) return false;
  std::optional<Projections::Values> projected;
  if (projections_ && event.has_embedding) projected = projections_->project(VectorRow::of(event));
  const double novelty =
      words_ ? words_->novelty(WordRow::of(event)) : std::numeric_limits<double>::quiet_NaN();
  for (Watch& watch : watches_) {
    feed(watch, event, projected ? &*projected : nullptr, novelty);
    if (events_ - watch.checkpoint.event >= kCheckpointEvery) note_checkpoint(watch);
  }
  note_history();
  return crossed().has_value();
}

void Segment::feed(Watch& watch, const Observation& event, const Projections::Values* projected,
                   double novelty) {
  if (!watch.calibration.armed) return;
  const Signal& signal = plan_->signals[watch.signal];
  const std::size_t channels = watch.channels;
  std::uint8_t* bins = watch.bins.data() + events_ % kBinRing * channels;
  std::fill_n(bins, channels, kNotFed);
  if (signal.about_output && event.candidate) return;
  if (signal.kind == SignalKind::kEmbedding && projected == nullptr) return;
  if (++watch.phase < watch.calibration.thin) return;
  watch.phase = 0;
  const auto dt = static_cast<float>(std::max<std::int64_t>(0, event.ts_ms - watch.last_ts_ms));
  const auto step = static_cast<float>(events_ - watch.last_event);
  watch.last_ts_ms = std::max(watch.last_ts_ms, event.ts_ms);
  watch.last_event = events_;
  ++watch.fed;
  const std::size_t first = watch.cells > 1 ? seasons_.cell_of(event.ts_ms) : 0;
  double sum = 0.0;
  for (std::size_t c = 0; c < channels; ++c) {
    const RankBets& bets = *watch.bets[first * channels + c];
    const Reference& reference = bets.reference();
    std::size_t bin = 0;
    switch (signal.kind) {
      case SignalKind::kCategorical:
        bin = reference.bin_of_category(event.categories[watch.signal]);
        break;
      case SignalKind::kNumeric: bin = reference.bin_of(event.numbers[watch.signal]); break;
      case SignalKind::kNovelty: bin = reference.bin_of(novelty); break;
      case SignalKind::kEmbedding:
        bin = reference.bin_of(static_cast<double>((*projected)[c]));
        break;
    }
    bins[c] = static_cast<std::uint8_t>(bin);
    sum += static_cast<double>(bets.update(watch.states[c], bin, dt, step));
  }
  watch.evidence = sum / static_cast<double>(channels);
  // A logarithm only where it can be the interval's new maximum.
  if (watch.evidence <= watch.interval_evidence) return;
  watch.interval_evidence = watch.evidence;
  watch.interval_max = std::max(watch.interval_max, static_cast<float>(watch.log10_ratio()));
}

// Taken while the evidence is low, so that an alarm's trail shows its whole rise, and in any case
// before the bins since the last one are overwritten. An alarm that is due keeps its trail.
void Segment::note_checkpoint(Watch& watch) const {
  if (!watch.calibration.armed) return;
  const std::uint64_t span = events_ - watch.checkpoint.event;
  const bool due = plan_->signals[watch.signal].alarm && watch.evidence >= watch.threshold_ms;
  if (span + 1 < kBinRing && watch.log10_ratio() > kQuiet) return;
  if (span < kBinRing && due) return;
  watch.checkpoint.states = watch.states;
  watch.checkpoint.event = events_;
  watch.checkpoint.last_event = watch.last_event;
  watch.checkpoint.last_ts_ms = watch.last_ts_ms;
}

// Keeps the history bounded by joining neighbours and doubling the interval.
void Segment::note_history() {
  const std::uint64_t since = events_ - armed_at_;
  if (since == 0 || since % history_every_ != 0) return;
  bool full = false;
  for (Watch& watch : watches_) {
    watch.history.push_back(watch.interval_max);
    watch.interval_max = -30.0F;
    watch.interval_evidence = 0.0;
    full |= watch.history.size() >= kHistory;
  }
  if (!full) return;
  history_every_ *= 2;
  for (Watch& watch : watches_) {
    const std::size_t half = watch.history.size() / 2;
    for (std::size_t i = 0; i < half; ++i) {
      watch.history[i] = std::max(watch.history[2 * i], watch.history[2 * i + 1]);
    }
    watch.history.resize(half);
  }
}

// The alarming signal that is furthest beyond its threshold.
std::optional<std::size_t> Segment::crossed() const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    const Watch& watch = watches_[i];
    if (!watch.calibration.armed || !plan_->signals[watch.signal].alarm) continue;
    if (watch.evidence < watch.threshold_ms) continue;
    if (!best || watch.log10_ratio() > watches_[*best].log10_ratio()) best = i;
  }
  return best;
}

// ---- attribution ---------------------------------------------------------------------------

Segment::Mark Segment::mark_of(std::uint64_t event) const {
  if (events_ - event < kRecentMarks) return recent_marks_[event % kRecentMarks];
  // The finest level that still has it; of the coarsest the oldest.
  for (std::size_t level = 0; level < kSparseLevels; ++level) {
    const std::uint64_t newest = events_ / sparse_every(level);
    std::uint64_t wanted = std::max<std::uint64_t>(event / sparse_every(level), 1);
    const bool last = level + 1 == kSparseLevels;
    if (last && newest >= kSparseMarks) wanted = std::max(wanted, newest - kSparseMarks + 1);
    if (newest < wanted || newest - wanted >= kSparseMarks) continue;
    return sparse_marks_[level * kSparseMarks + wanted % kSparseMarks];
  }
  return recent_marks_[events_ % kRecentMarks];
}

std::size_t Segment::cell_at(const Watch& watch, std::uint64_t event) const {
  if (watch.cells == 1) return 0;
  return seasons_.cell_of(recent_marks_[event % kRecentMarks].ts_ms);
}

std::uint64_t Segment::span_of(std::uint64_t age) const {
  return std::min<std::uint64_t>({age, kBinRing, events_ - armed_at_});
}

// The cell in which most of the last `span` events lie: bins of different cells do not compare.
std::size_t Segment::main_cell(const Watch& watch, std::uint64_t span) const {
  std::vector<std::size_t> events(watch.cells, 0);
  for (std::uint64_t back = 0; back < span; ++back) ++events[cell_at(watch, events_ - back)];
  return static_cast<std::size_t>(std::max_element(events.begin(), events.end()) - events.begin());
}

std::vector<std::int64_t> Segment::counts_since(const Watch& watch, std::size_t channel,
                                                std::size_t cell, std::uint64_t span) const {
  std::vector<std::int64_t> counts(watch.bets[cell * watch.channels + channel]->reference().bins(),
                                   0);
  for (std::uint64_t back = 0; back < span; ++back) {
    const std::size_t slot = (events_ - back) % kBinRing * watch.channels + channel;
    if (watch.bins[slot] == kNotFed || cell_at(watch, events_ - back) != cell) continue;
    ++counts[watch.bins[slot]];
  }
  return counts;
}

void Segment::attribute(Alarm& alarm) const {
  const auto index = crossed();
  CHECK(index.has_value(), "attribute() without an alarm");
  const Watch& watch = watches_[*index];
  const std::size_t channel = watch.leading_channel();
  const RankState& state = watch.states[channel];
  const auto age = static_cast<std::uint64_t>(state.age[watch.bets[channel]->leader(state)]);
  const std::size_t cell = main_cell(watch, span_of(age));
  const RankBets& bets = *watch.bets[cell * watch.channels + channel];
  alarm.kind = AlarmKind::kDrift;
  alarm.signal = plan_->signals[watch.signal].name;
  alarm.segment = name_;
  alarm.evidence = watch.evidence;
  alarm.threshold = watch.threshold_ms;
  alarm.provisional_reference = provisional_;
  alarm.delay_events = age;
  const Mark onset = mark_of(events_ - std::min(age, events_ - armed_at_) + 1);
  alarm.onset_ts_ms = onset.ts_ms;
  alarm.onset_offset = onset.offset;
  const auto counts = counts_since(watch, channel, cell, span_of(age));
  const BinDistances distances = bin_distances(bets.reference(), counts);
  if (watch.cells > 1) alarm.season = seasons_.name(cell);
  alarm.psi = distances.psi;
  alarm.js = distances.js;
  alarm.ks = distances.ks;
  alarm.wasserstein = distances.wasserstein;
  alarm.bet = RankBets::bet_name(bets.leader(state));
  alarm.bins = bin_shares(bets, state, counts);
  for (const std::int64_t count : counts) alarm.window += static_cast<std::uint64_t>(count);
  alarm.history_every = history_every_;
  alarm.history = watch.history;
  alarm.history.push_back(static_cast<float>(watch.log10_ratio()));
  alarm.trail = trail_of(watch);
}

std::string Segment::trail_of(const Watch& watch) const {
  RankTrail trail;
  trail.threshold = watch.threshold_ms;
  trail.states = watch.checkpoint.states;
  const std::size_t channels = watch.channels;
  std::vector<std::size_t> cells;  // those that occur, in order of appearance
  std::int64_t last_ts_ms = watch.checkpoint.last_ts_ms;
  std::uint64_t last_event = watch.checkpoint.last_event;
  for (std::uint64_t event = watch.checkpoint.event + 1; event <= events_; ++event) {
    const std::uint8_t* bins = watch.bins.data() + event % kBinRing * channels;
    if (*bins == kNotFed) continue;
    const std::int64_t ts_ms = recent_marks_[event % kRecentMarks].ts_ms;
    trail.steps.push_back({static_cast<float>(std::max<std::int64_t>(0, ts_ms - last_ts_ms)),
                           static_cast<float>(event - last_event)});
    trail.bins.insert(trail.bins.end(), bins, bins + channels);
    const std::size_t cell = cell_at(watch, event);
    const auto known = std::find(cells.begin(), cells.end(), cell);
    trail.cells.push_back(static_cast<std::uint8_t>(known - cells.begin()));
    if (known == cells.end()) cells.push_back(cell);
    last_ts_ms = std::max(last_ts_ms, ts_ms);
    last_event = event;
  }
  if (cells.empty()) cells.push_back(0);
  for (const std::size_t cell : cells) {
    for (std::size_t c = 0; c < channels; ++c) {
      trail.bets.push_back(watch.bets[cell * channels + c].get());
    }
  }
  return save_trail(trail);
}

void Segment::reports(std::vector<SignalReport>& out) const {
  for (const Watch& watch : watches_) {
    if (!watch.calibration.armed) continue;
    const std::size_t channel = watch.leading_channel();
    const std::uint64_t span = span_of(kBinRing);
    const std::size_t cell = main_cell(watch, span);
    const RankBets& bets = *watch.bets[cell * watch.channels + channel];
    const auto counts = counts_since(watch, channel, cell, span);
    const BinDistances distances = bin_distances(bets.reference(), counts);
    SignalReport report;
    report.name = plan_->signals[watch.signal].name;
    report.segment = name_;
    for (const std::int64_t count : counts) report.window += static_cast<std::uint64_t>(count);
    report.reference_size = bets.reference().size();
    report.log10_ratio = watch.log10_ratio();
    report.bet = RankBets::bet_name(bets.leader(watch.states[channel]));
    report.season = watch.cells > 1 ? seasons_.name(cell) : "";
    report.channel = watch.channels > 1 ? static_cast<int>(channel) : -1;
    report.psi = distances.psi;
    report.js = distances.js;
    report.ks = distances.ks;
    report.wasserstein = distances.wasserstein;
    report.bins = bin_shares(bets, watch.states[channel], counts);
    report.history_every = history_every_;
    report.history = watch.history;
    out.push_back(std::move(report));
  }
}

std::vector<const VectorRow*> Segment::reference_vectors() const {
  std::vector<const VectorRow*> rows;
  for (const VectorRow& row : kept_vectors_) rows.push_back(&row);
  return rows;
}

double Segment::paid(std::uint64_t event) const {
  const auto index = crossed();
  if (!index || event > events_ || events_ - event >= kBinRing) return 0.0;
  const Watch& watch = watches_[*index];
  const std::size_t channel = watch.leading_channel();
  const std::uint8_t bin = watch.bins[event % kBinRing * watch.channels + channel];
  if (bin == kNotFed) return 0.0;
  const RankState& state = watch.states[channel];
  const RankBets& bets = *watch.bets[cell_at(watch, event) * watch.channels + channel];
  return bets.log_ratio(state, bets.leader(state), bin);
}

void Segment::evidence(std::vector<SignalEvidence>& out) const {
  for (const Watch& watch : watches_) {
    if (!watch.calibration.armed) continue;
    out.push_back({plan_->signals[watch.signal].name, name_, watch.log10_ratio()});
  }
}

void Segment::status(std::vector<SignalStatus>& out) const {
  if (watches_.empty()) {
    for (const Signal& signal : plan_->signals) {
      if (is_text(signal) && !with_text_) continue;
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
    status.state = !watch.calibration.armed             ? "refused"
                   : plan_->signals[watch.signal].alarm ? "armed"
                                                        : "watched";
    status.reason = watch.calibration.reason;
    status.evidence = watch.evidence;
    status.threshold = watch.threshold_ms;
    status.theta = watch.calibration.theta;
    status.thin = watch.calibration.thin;
    status.reference_size = watch.bets.empty() ? 0 : watch.bets.front()->reference().size();
    status.reference_ts_ms = reference_ts_ms_;
    status.events = watch.fed;
    status.history = watch.history;
    out.push_back(std::move(status));
  }
}

}  // namespace trimtab::drift
