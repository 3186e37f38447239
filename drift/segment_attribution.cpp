// What an alarm and a report tell: the leading bet, its onset, the bins that moved, the trail from
// which the evidence can be derived again (derivation.h).
#include <algorithm>

#include "base/check.h"
#include "drift/derivation.h"
#include "drift/segment.h"

namespace trimtab::drift {

std::size_t Segment::leading_channel(const Watch& watch) const {
  std::size_t best = 0;
  for (std::size_t c = 1; c < watch.channels; ++c) {
    if (channel_of(watch, c).state.evidence > channel_of(watch, best).state.evidence) best = c;
  }
  return best;
}

// The alarming signal that is furthest beyond its threshold.
std::optional<std::size_t> Segment::crossed() const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    const Watch& watch = watches_[i];
    if (!watch.alarms || watch.evidence < watch.threshold_ms) continue;
    if (!best || watch.log10_ratio() > watches_[*best].log10_ratio()) best = i;
  }
  return best;
}

// Cells of the week of the newest `span` events, newest first.
std::vector<std::size_t> Segment::newest_cells(const Watch& watch, std::uint64_t span) const {
  std::vector<std::size_t> cells(span, 0);
  if (watch.cells == 1) return cells;
  const auto times = marks_.newest_times(span);
  for (std::size_t back = 0; back < span; ++back) cells[back] = seasons_.cell_of(times[back]);
  return cells;
}

std::uint64_t Segment::span_of(std::uint64_t age) const {
  return std::min<std::uint64_t>({age, kBinRing, events() - armed_at_});
}

namespace {

// The cell in which most of these events lie: bins of different cells do not compare.
std::size_t main_cell(const std::vector<std::size_t>& cells, std::size_t count) {
  std::vector<std::size_t> events(count, 0);
  for (const std::size_t cell : cells) ++events[cell];
  return static_cast<std::size_t>(std::max_element(events.begin(), events.end()) - events.begin());
}

}  // namespace

std::vector<std::int64_t> Segment::counts_since(const Watch& watch, std::size_t channel,
                                                std::size_t cell, std::uint64_t span) const {
  std::vector<std::int64_t> counts(bets_of(watch, cell, channel).reference().bins(), 0);
  const auto cells = newest_cells(watch, span);
  for (std::uint64_t back = 0; back < span; ++back) {
    if (!fed(watch, events() - back) || cells[back] != cell) continue;
    ++counts[channel_of(watch, channel).bins.get(events() - back)];
  }
  return counts;
}

void Segment::attribute(Alarm& alarm) const {
  const auto index = crossed();
  CHECK(index.has_value(), "attribute() without an alarm");
  const Watch& watch = watches_[*index];
  const std::size_t channel = leading_channel(watch);
  const RankState& state = channel_of(watch, channel).state;
  const auto age =
      static_cast<std::uint64_t>(state.age[bets_of(watch, 0, channel).leader(state)]);
  const std::size_t cell = main_cell(newest_cells(watch, span_of(age)), watch.cells);
  const RankBets& bets = bets_of(watch, cell, channel);
  alarm.kind = AlarmKind::kDrift;
  alarm.signal = plan_->signals[watch.signal].name;
  alarm.segment = name_;
  alarm.evidence = watch.evidence;
  alarm.threshold = watch.threshold_ms;
  alarm.provisional_reference = provisional_;
  alarm.delay_events = age;
  const Mark onset = marks_.at_or_before(events() - std::min(age, events() - armed_at_) + 1);
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
  alarm.history = watch.history_points();
  alarm.history.push_back(static_cast<float>(watch.log10_ratio()));
  alarm.trail = trail_of(watch);
}

std::string Segment::trail_of(const Watch& watch) const {
  RankTrail trail;
  trail.threshold = watch.threshold_ms;
  for (std::size_t c = 0; c < watch.channels; ++c) {
    trail.states.push_back(channel_of(watch, c).checkpoint);
  }
  const std::uint64_t span = events() - watch.checkpoint_event;
  const auto times = marks_.newest_times(span);
  const auto cell_of = newest_cells(watch, span);
  std::vector<std::size_t> cells;  // those that occur, in order of appearance
  std::int64_t last_ts_ms = watch.checkpoint_last_ts_ms;
  std::uint64_t last_event = watch.checkpoint_last_event;
  for (std::uint64_t back = span; back-- > 0;) {
    const std::uint64_t event = events() - back;
    if (!fed(watch, event)) continue;
    const auto dt = static_cast<float>(std::max<std::int64_t>(0, times[back] - last_ts_ms));
    trail.steps.push_back({dt, static_cast<std::uint32_t>(event - last_event)});
    for (std::size_t c = 0; c < watch.channels; ++c) {
      trail.bins.push_back(channel_of(watch, c).bins.get(event));
    }
    const auto known = std::find(cells.begin(), cells.end(), cell_of[back]);
    trail.cells.push_back(static_cast<std::uint8_t>(known - cells.begin()));
    if (known == cells.end()) cells.push_back(cell_of[back]);
    last_ts_ms = std::max(last_ts_ms, times[back]);
    last_event = event;
  }
  if (cells.empty()) cells.push_back(0);
  for (const std::size_t cell : cells) {
    for (std::size_t c = 0; c < watch.channels; ++c) {
      trail.bets.push_back(&bets_of(watch, cell, c));
    }
  }
  return save_trail(trail);
}

void Segment::reports(std::vector<SignalReport>& out) const {
  for (const Watch& watch : watches_) {
    if (!watch.armed) continue;
    const std::size_t channel = leading_channel(watch);
    const RankState& state = channel_of(watch, channel).state;
    const std::uint64_t span = span_of(kBinRing);
    const std::size_t cell = main_cell(newest_cells(watch, span), watch.cells);
    const RankBets& bets = bets_of(watch, cell, channel);
    const auto counts = counts_since(watch, channel, cell, span);
    const BinDistances distances = bin_distances(bets.reference(), counts);
    SignalReport report;
    report.name = plan_->signals[watch.signal].name;
    report.segment = name_;
    for (const std::int64_t count : counts) report.window += static_cast<std::uint64_t>(count);
    report.reference_size = bets.reference().size();
    report.log10_ratio = watch.log10_ratio();
    report.bet = RankBets::bet_name(bets.leader(state));
    report.season = watch.cells > 1 ? seasons_.name(cell) : "";
    report.channel = watch.channels > 1 ? static_cast<int>(channel) : -1;
    report.psi = distances.psi;
    report.js = distances.js;
    report.ks = distances.ks;
    report.wasserstein = distances.wasserstein;
    report.bins = bin_shares(bets, state, counts);
    report.history_every = history_every_;
    report.history = watch.history_points();
    out.push_back(std::move(report));
  }
}

double Segment::paid(std::uint64_t event) const {
  const auto index = crossed();
  if (!index || event > events() || events() - event >= kBinRing) return 0.0;
  const Watch& watch = watches_[*index];
  const std::size_t channel = leading_channel(watch);
  if (!fed(watch, event)) return 0.0;
  const std::uint8_t bin = channel_of(watch, channel).bins.get(event);
  const RankState& state = channel_of(watch, channel).state;
  const std::size_t cell = newest_cells(watch, events() - event + 1).back();
  const RankBets& bets = bets_of(watch, cell, channel);
  return bets.log_ratio(state, bets.leader(state), bin);
}

}  // namespace trimtab::drift
