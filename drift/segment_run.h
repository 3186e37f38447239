// SegmentRun: what some consecutive events do to a segment's detectors, before it counts.
//
// Signal after signal over all of the events: a detector's state, its tables and its bookkeeping
// are fetched once a run instead of once an event (20 signals' are larger than the nearest cache),
// and the search for the bins is one of vectors. Whether one of the signals would alarm is known
// before anything but the detectors' states has changed, and those are kept: Segment::undo() takes
// the run back, and the Monitor then goes event by event up to the alarm.
// The Monitor owns some of these and uses them again: nothing is allocated in steady state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "drift/observation.h"
#include "drift/projections.h"
#include "drift/rank_e.h"

namespace trimtab::drift {

struct SegmentRun {
  // So that a detector takes at most one checkpoint in a run.
  static constexpr std::size_t kMost = kMostOfRun;

  std::size_t segment = 0;                 // whose; the Monitor's index
  std::vector<const Observation*> events;  // at most kMost, in order

  // From here on filled by Segment::foresee().
  std::uint64_t first = 0;  // number of events[0]
  std::size_t stride = 0;   // of the tables below
  bool candidates = false;  // some event is a candidate's
  std::array<std::int64_t, kMost> ts_ms{};  // as the marks keep them
  std::int64_t latest_ms = 0;               // of these
  // Gaps between the events for a detector that all of them feed and that was last fed at
  // `gaps_from_ms` by event `gaps_from`.
  std::int64_t gaps_from_ms = 0;
  std::uint64_t gaps_from = 0;
  std::array<float, kMost> dts{};
  std::array<std::uint16_t, kMost> steps{};

  std::vector<RankState> before;       // a channel
  std::vector<std::uint8_t> bins;      // [channels, stride]; BinRing::kNotFed
  std::vector<double> evidence;        // [watches, stride], after each event
  std::vector<double> most;            // a watch: the most of its evidence
  std::vector<double> novelty;         // an event; of segments with text
  std::vector<std::optional<Projections::Values>> projected;  // the same
};

}  // namespace trimtab::drift
