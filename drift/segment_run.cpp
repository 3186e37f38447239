// How a run of events passes through a segment's detectors: segment_run.h says why.
#include "drift/segment_run.h"

#include <algorithm>
#include <limits>

#include "drift/segment.h"

namespace trimtab::drift {
namespace {

constexpr std::uint64_t kCheckpointEvery = 128;
constexpr double kQuiet = 0.01;  // of the threshold: below it a rise has not begun
static_assert(SegmentRun::kMost <= kCheckpointEvery);

std::uint16_t step_between(std::uint64_t last_event, std::uint64_t event) {
  return static_cast<std::uint16_t>(std::min<std::uint64_t>(event - last_event, kMostAge));
}

}  // namespace

// Which events of a run feed a detector, and the gaps before them.
struct Segment::Fed {
  bool all = false;  // every one of them; `at` is then not filled
  std::size_t count = 0;
  std::uint32_t phase = 0;  // of the watch, afterwards
  const float* dts = nullptr;
  const std::uint16_t* steps = nullptr;
  std::array<std::uint8_t, SegmentRun::kMost> at;
  std::array<float, SegmentRun::kMost> own_dts;
  std::array<std::uint16_t, SegmentRun::kMost> own_steps;

  [[nodiscard]] std::size_t event(std::size_t i) const { return all ? i : at[i]; }
};

bool Segment::observe(const Observation& event, SegmentRun& run) {
  tick();
  if (state_ == MonitorState::kArmed) {
    run.events.assign(1, &event);
    const bool crossed = foresee(run);
    settle(run);
    return crossed;
  }
  marks_.note({event.ts_ms, event.offset});
  if (state_ == MonitorState::kCollecting && !event.candidate) {  // a reference is the champion's
    keep_row(event);
    if (collected() >= plan_->reference_size) state_ = MonitorState::kCalibrating;
  }
  return false;
}

bool Segment::foresee(SegmentRun& run) {
  const std::size_t count = run.events.size();
  run.first = events() + 1;
  run.stride = (count + 7) / 8 * 8;
  run.candidates = false;
  run.gaps_from = ~std::uint64_t{0};
  std::int64_t ts_ms = marks_.newest().ts_ms;
  for (std::size_t i = 0; i < count; ++i) {
    ts_ms = EventMarks::kept_time(ts_ms, run.events[i]->ts_ms);
    run.ts_ms[i] = ts_ms;
    run.candidates |= run.events[i]->candidate;
  }
  run.latest_ms = *std::max_element(run.ts_ms.begin(), run.ts_ms.begin() + count);
  run.before.resize(channels_.size());
  run.bins.resize(channels_.size() * run.stride);
  run.evidence.resize(watches_.size() * run.stride);
  run.most.resize(watches_.size());
  if (text_) read_texts(run);
  bool any = false;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i].armed) any |= foresee(i, run);
  }
  return any;
}

void Segment::read_texts(SegmentRun& run) const {
  run.novelty.assign(run.events.size(), std::numeric_limits<double>::quiet_NaN());
  run.projected.assign(run.events.size(), std::nullopt);
  for (std::size_t i = 0; i < run.events.size(); ++i) {
    const Observation& event = *run.events[i];
    if (text_->projections && event.has_embedding) {
      run.projected[i] = text_->projections->project(VectorRow::of(event));
    }
    if (text_->words) run.novelty[i] = text_->words->novelty(WordRow::of(event));
  }
}

void Segment::note_gaps(const Watch& watch, SegmentRun& run) {
  if (run.gaps_from == watch.last_event && run.gaps_from_ms == watch.last_ts_ms) return;
  run.gaps_from = watch.last_event;
  run.gaps_from_ms = watch.last_ts_ms;
  std::int64_t last_ms = watch.last_ts_ms;
  for (std::size_t i = 0; i < run.events.size(); ++i) {
    run.dts[i] = static_cast<float>(std::max<std::int64_t>(0, run.ts_ms[i] - last_ms));
    run.steps[i] = 1;
    last_ms = std::max(last_ms, run.ts_ms[i]);
  }
  run.steps[0] = step_between(watch.last_event, run.first);
}

void Segment::find_fed(const Watch& watch, SegmentRun& run, Fed& fed) {
  const bool embedding = watch.kind == SignalKind::kEmbedding;
  fed.all = watch.thin == 1 && !(watch.about_output && run.candidates) && !embedding;
  if (fed.all) {
    note_gaps(watch, run);
    fed.count = run.events.size();
    fed.dts = run.dts.data();
    fed.steps = run.steps.data();
    return;
  }
  fed.phase = watch.phase;
  fed.dts = fed.own_dts.data();
  fed.steps = fed.own_steps.data();
  std::int64_t last_ms = watch.last_ts_ms;
  std::uint64_t last_event = watch.last_event;
  for (std::size_t i = 0; i < run.events.size(); ++i) {
    const bool absent = (watch.about_output && run.events[i]->candidate) ||
                        (embedding && !run.projected[i].has_value());
    if (absent || ++fed.phase < watch.thin) continue;
    fed.phase = 0;
    fed.own_dts[fed.count] =
        static_cast<float>(std::max<std::int64_t>(0, run.ts_ms[i] - last_ms));
    fed.own_steps[fed.count] = step_between(last_event, run.first + i);
    fed.at[fed.count++] = static_cast<std::uint8_t>(i);
    last_ms = std::max(last_ms, run.ts_ms[i]);
    last_event = run.first + i;
  }
}

// The bins of a channel: of the events that feed it, in their places.
void Segment::look_up(const Watch& watch, std::size_t channel, const Fed& fed,
                      SegmentRun& run) const {
  std::uint8_t* const bins = &run.bins[(watch.first_channel + channel) * run.stride];
  const Reference& reference = bets_of(watch, 0, channel).reference();
  const bool plain = fed.all && watch.cells == 1;
  if (plain && watch.kind == SignalKind::kCategorical) {
    for (std::size_t i = 0; i < fed.count; ++i) {
      bins[i] = static_cast<std::uint8_t>(
          reference.bin_of_category(run.events[i]->categories[watch.signal]));
    }
    return;
  }
  if (plain && watch.kind == SignalKind::kNumeric) {
    std::array<double, SegmentRun::kMost> values;
    for (std::size_t i = 0; i < fed.count; ++i) values[i] = run.events[i]->numbers[watch.signal];
    return reference.bins_of({values.data(), fed.count}, bins);
  }
  if (!fed.all) std::fill_n(bins, run.events.size(), BinRing::kNotFed);
  for (std::size_t i = 0; i < fed.count; ++i) {
    const std::size_t at = fed.event(i);
    bins[at] = bin_of(watch, channel, at, run);
  }
}

std::uint8_t Segment::bin_of(const Watch& watch, std::size_t channel, std::size_t at,
                             const SegmentRun& run) const {
  const Reference& reference = bets_of(watch, cell_of(watch, run.ts_ms[at]), channel).reference();
  const Observation& event = *run.events[at];
  std::size_t bin = 0;
  switch (watch.kind) {
    case SignalKind::kCategorical:
      bin = reference.bin_of_category(event.categories[watch.signal]);
      break;
    case SignalKind::kNumeric: bin = reference.bin_of(event.numbers[watch.signal]); break;
    case SignalKind::kNovelty: bin = reference.bin_of(run.novelty[at]); break;
    case SignalKind::kEmbedding:
      bin = reference.bin_of(static_cast<double>((*run.projected[at])[channel]));
      break;
  }
  return static_cast<std::uint8_t>(bin);
}

// The first `count` events of `fed` into the state of a channel; `evidence` after each of them.
double Segment::step_channel(const Watch& watch, std::size_t channel, const Fed& fed,
                             std::size_t count, const SegmentRun& run, RankState& state,
                             double* evidence) const {
  const std::uint8_t* const bins = &run.bins[(watch.first_channel + channel) * run.stride];
  if (fed.all && watch.cells == 1) {
    const RankRun all{bins, fed.dts, fed.steps, count, evidence};
    return static_cast<double>(bets_of(watch, 0, channel).update_run(state, all));
  }
  double most = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = fed.event(i);
    const RankBets& bets = bets_of(watch, cell_of(watch, run.ts_ms[at]), channel);
    bets.update_run(state, {&bins[at], &fed.dts[i], &fed.steps[i], 1, &evidence[i]});
    most = std::max(most, evidence[i]);
  }
  return most;
}

// One signal. True when it would alarm.
bool Segment::foresee(std::size_t index, SegmentRun& run) {
  Watch& watch = watches_[index];
  Fed fed;
  find_fed(watch, run, fed);
  double* const evidence = &run.evidence[index * run.stride];
  for (std::size_t c = 0; c < watch.channels; ++c) {
    run.before[watch.first_channel + c] = channels_[watch.first_channel + c].state;
  }
  double& most = run.most[index];
  if (fed.all && watch.channels == 1) {
    look_up(watch, 0, fed, run);
    most = step_channel(watch, 0, fed, fed.count, run, channels_[watch.first_channel].state,
                        evidence);
  } else {
    most = foresee_rare(watch, fed, run, evidence);
  }
  return watch.alarms && most >= watch.threshold_ms;
}

// Several channels, whose mean counts, or not every event feeds it: its evidence then stays.
double Segment::foresee_rare(const Watch& watch, const Fed& fed, SegmentRun& run,
                             double* evidence) {
  std::array<double, SegmentRun::kMost> one, sum{};
  for (std::size_t c = 0; c < watch.channels; ++c) {
    look_up(watch, c, fed, run);
    if (fed.count == 0) continue;
    step_channel(watch, c, fed, fed.count, run, channels_[watch.first_channel + c].state,
                 one.data());
    for (std::size_t i = 0; i < fed.count; ++i) sum[i] += one[i];
  }
  double most = 0.0, now = watch.evidence;
  std::size_t next = 0;
  for (std::size_t i = 0; i < run.events.size(); ++i) {
    if (next < fed.count && fed.event(next) == i) {
      now = watch.channels == 1 ? sum[next] : sum[next] / static_cast<double>(watch.channels);
      ++next;
    }
    evidence[i] = now;
    most = std::max(most, now);
  }
  return most;
}

void Segment::undo(const SegmentRun& run) {
  for (const Watch& watch : watches_) {
    if (!watch.armed) continue;
    for (std::size_t c = 0; c < watch.channels; ++c) {
      channels_[watch.first_channel + c].state = run.before[watch.first_channel + c];
    }
  }
}

// What foresee() has left: all but the states.
void Segment::settle(SegmentRun& run) {
  for (const Observation* event : run.events) marks_.note({event->ts_ms, event->offset});
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i].armed) settle(i, run);
  }
  settle_history(run);
}

void Segment::settle(std::size_t index, SegmentRun& run) {
  Watch& watch = watches_[index];
  Fed fed;
  find_fed(watch, run, fed);
  note_checkpoint(watch, fed, run, &run.evidence[index * run.stride]);
  watch.phase = fed.phase;
  watch.fed += fed.count;
  if (fed.all) {
    watch.last_ts_ms = std::max(watch.last_ts_ms, run.latest_ms);
  } else {
    for (std::size_t i = 0; i < fed.count; ++i) {
      watch.last_ts_ms = std::max(watch.last_ts_ms, run.ts_ms[fed.at[i]]);
    }
  }
  if (fed.count > 0) watch.last_event = run.first + fed.event(fed.count - 1);
  watch.evidence = run.evidence[index * run.stride + run.events.size() - 1];
  Channel* const channels = &channels_[watch.first_channel];
  const std::uint8_t* const bins = &run.bins[watch.first_channel * run.stride];
  channels[0].bins.set_all(run.first, {bins, run.events.size()});
  for (std::size_t c = 1; c < watch.channels; ++c) {
    for (std::size_t i = 0; i < fed.count; ++i) {
      const std::size_t at = fed.event(i);
      channels[c].bins.set(run.first + at, bins[c * run.stride + at]);
    }
  }
}

// Taken while the evidence is low, so that an alarm's trail shows its whole rise, and in any case
// before the bins since the last one are overwritten. An alarm that is due keeps its trail.
void Segment::note_checkpoint(Watch& watch, const Fed& fed, const SegmentRun& run,
                              const double* evidence) {
  const auto wanted = [&](std::size_t i) {
    const std::uint64_t span = run.first + i - watch.checkpoint_event;
    const bool due = watch.alarms && evidence[i] >= watch.threshold_ms;
    return (span + 1 >= kBinRing || evidence[i] <= kQuiet * watch.threshold_ms) &&
           (span >= kBinRing || !due);
  };
  const std::uint64_t span = run.first - watch.checkpoint_event;
  std::size_t at = span < kCheckpointEvery ? kCheckpointEvery - span : 0;
  while (at < run.events.size() && !wanted(at)) ++at;
  if (at >= run.events.size()) return;
  std::size_t count = 0;  // of the events that feed it, up to that one
  watch.checkpoint_last_event = watch.last_event;
  watch.checkpoint_last_ts_ms = watch.last_ts_ms;
  for (; count < fed.count && fed.event(count) <= at; ++count) {
    watch.checkpoint_last_event = run.first + fed.event(count);
    watch.checkpoint_last_ts_ms =
        std::max(watch.checkpoint_last_ts_ms, run.ts_ms[fed.event(count)]);
  }
  std::array<double, SegmentRun::kMost> unused;
  for (std::size_t c = 0; c < watch.channels; ++c) {
    Channel& channel = channels_[watch.first_channel + c];
    channel.checkpoint = run.before[watch.first_channel + c];
    if (count == 0) continue;
    step_channel(watch, c, fed, count, run, channel.checkpoint, unused.data());
  }
  watch.checkpoint_event = run.first + at;
}

// Points fall due in the midst of a run.
void Segment::settle_history(const SegmentRun& run) {
  const std::size_t count = run.events.size();
  for (std::size_t from = 0; from < count;) {
    const std::uint64_t since = run.first + from - armed_at_;  // of the event at `from`, from 1
    const std::uint64_t left = (history_every_ - since % history_every_) % history_every_;
    const auto to = static_cast<std::size_t>(std::min<std::uint64_t>(count, from + left + 1));
    for (std::size_t i = 0; i < watches_.size(); ++i) {
      if (!watches_[i].armed) continue;
      const double* const evidence = &run.evidence[i * run.stride];
      const bool whole = from == 0 && to == count;
      const double most = whole ? run.most[i] : *std::max_element(evidence + from, evidence + to);
      watches_[i].interval_evidence = std::max(watches_[i].interval_evidence, most);
    }
    if (from + left < count) note_history();
    from = to;
  }
}

}  // namespace trimtab::drift
