// Many inputs at once: Monitor::take().
//
// A run is a stretch of inputs in which every segment is either armed or can not become so. First
// the detectors of all its segments see all of the run; when none of them crosses, which is nearly
// always, the rest follows in the inputs' order: outcomes, recent records, collected rows. When one
// crosses the detectors go back and the inputs are taken one by one up to the alarm, so that an
// alarm finds everything as it was at its record, and what is saved is the same to the byte.
#include <algorithm>

#include "drift/monitor_impl.h"

namespace trimtab::drift {

void Monitor::Impl::take(std::span<const MonitorInput> inputs, std::vector<RaisedAlarm>& alarms) {
  taken_ = 0;
  while (!inputs.empty()) {
    planned_.clear();
    std::size_t events = 0;
    for (const MonitorInput& input : inputs.first(std::min(inputs.size(), SegmentRun::kMost))) {
      if (input.event != nullptr) sessions_.expect(input.event->session_hash);
    }
    for (const MonitorInput& input : inputs) {
      if (input.event != nullptr && ++events > SegmentRun::kMost) break;
      Planned& planned = planned_.emplace_back();
      if (input.event == nullptr) continue;
      // It depends on no verdict, so it may be asked beforehand.
      planned.counted = sessions_.counts(input.event->session_hash, input.event->ts_ms);
    }
    const auto block = inputs.first(planned_.size());
    for (std::size_t at = 0; at < block.size();) {
      const std::size_t end = plan(block, at);
      if (end > at && !foresee()) {
        settle(block, at, end, alarms);
        at = end;
      } else {
        if (end > at) undo();
        at = one_by_one(block, at, std::max(end, at + 1), alarms);
      }
    }
    taken_ += block.size();
    inputs = inputs.subspan(block.size());
  }
}

// Where the run from `from` on ends; notes the events in their segments' runs.
std::size_t Monitor::Impl::plan(std::span<const MonitorInput> block, std::size_t from) {
  runs_used_ = 0;
  run_of_segment_.assign(segments_.size(), 0);
  for (std::size_t at = from; at < block.size(); ++at) {
    const Observation* event = block[at].event;
    if (event != nullptr && planned_[at].counted && !place(*event, planned_[at])) return at;
  }
  return block.size();
}

// False when the event must be taken on its own: its segment is new, or about to be armed.
bool Monitor::Impl::place(const Observation& event, Planned& planned) {
  planned.segments.fill(0);
  planned.segments[0] = 1;
  for (std::size_t field = 0; field < extractor_.segment_fields().size(); ++field) {
    const std::string_view value = event.segments[field].view();
    if (value.empty()) continue;
    const auto index = find_segment(field, value);
    if (!index) return false;
    planned.segments[1 + field] = *index + 1;
  }
  for (const std::size_t index : planned.segments) {
    if (index == 0) continue;
    const Segment& segment = *segments_[index - 1];
    const auto waiting = static_cast<std::int64_t>(run_of(index - 1).events.size());
    if (segment.state() == MonitorState::kCalibrating ||
        (segment.state() == MonitorState::kCollecting &&
         segment.collected() + waiting + 1 >= plan_->reference_size)) {
      return false;
    }
  }
  for (std::size_t i = 0; i < planned.segments.size(); ++i) {
    if (planned.segments[i] == 0) continue;
    SegmentRun& run = run_of(planned.segments[i] - 1);
    run.events.push_back(&event);
    planned.events[i] = segments_[run.segment]->events() + run.events.size();
  }
  return true;
}

SegmentRun& Monitor::Impl::run_of(std::size_t segment) {
  std::size_t& known = run_of_segment_[segment];
  if (known == 0) {
    if (runs_used_ == runs_.size()) {
      runs_.push_back(std::make_unique<SegmentRun>());
      runs_.back()->events.reserve(SegmentRun::kMost);
    }
    known = ++runs_used_;
    runs_[known - 1]->segment = segment;
    runs_[known - 1]->events.clear();
  }
  return *runs_[known - 1];
}

bool Monitor::Impl::foresee() {
  bool any = false;
  for (std::size_t i = 0; i < runs_used_; ++i) {
    SegmentRun& run = *runs_[i];
    Segment& segment = *segments_[run.segment];
    if (run.events.empty() || segment.state() != MonitorState::kArmed) continue;
    any |= segment.foresee(run);
  }
  return any;
}

void Monitor::Impl::undo() {
  for (std::size_t i = 0; i < runs_used_; ++i) {
    const SegmentRun& run = *runs_[i];
    Segment& segment = *segments_[run.segment];
    if (run.events.empty() || segment.state() != MonitorState::kArmed) continue;
    segment.undo(run);
  }
}

void Monitor::Impl::settle(std::span<const MonitorInput> block, std::size_t from, std::size_t to,
                           std::vector<RaisedAlarm>& alarms) {
  for (std::size_t i = 0; i < runs_used_; ++i) {
    SegmentRun& run = *runs_[i];
    Segment& segment = *segments_[run.segment];
    if (run.events.empty() || segment.state() != MonitorState::kArmed) continue;
    segment.settle(run);
  }
  for (std::size_t at = from; at < to; ++at) {
    if (block[at].event != nullptr) {
      settle(*block[at].event, planned_[at]);
    } else if (auto alarm = observe_outcome(block[at].outcome)) {
      alarms.push_back({taken_ + at, std::move(*alarm)});
    }
  }
}

void Monitor::Impl::settle(const Observation& event, const Planned& planned) {
  see(event);
  if (!planned.counted) return;
  RecentRecord& record = remember(event);
  record.all_event = planned.events[0];
  for (std::size_t field = 0; field < kMaxSegmentFields; ++field) {
    if (planned.segments[1 + field] == 0) continue;
    record.segments[field] = planned.segments[1 + field];
    record.segment_events[field] = planned.events[1 + field];
  }
  for (const std::size_t index : planned.segments) {
    if (index == 0 || segments_[index - 1]->state() == MonitorState::kArmed) continue;
    static_cast<void>(segments_[index - 1]->observe(event, single_));  // collecting, or refused
  }
}

// Returns where it stopped: behind a drift alarm, which changes what the segments do.
std::size_t Monitor::Impl::one_by_one(std::span<const MonitorInput> block, std::size_t from,
                                      std::size_t to, std::vector<RaisedAlarm>& alarms) {
  for (std::size_t at = from; at < to; ++at) {
    const MonitorInput& input = block[at];
    auto alarm = input.event != nullptr ? observe(*input.event, planned_[at].counted)
                                        : observe_outcome(input.outcome);
    if (!alarm) continue;
    const bool drift = alarm->kind == AlarmKind::kDrift;
    alarms.push_back({taken_ + at, std::move(*alarm)});
    if (drift) return at + 1;
  }
  return to;
}

}  // namespace trimtab::drift
