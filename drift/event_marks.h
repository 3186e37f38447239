// EventMarks: when a segment's past events were, and where in the log: an onset is an event number,
// and the pool, the hold-out and the job that follow from it need a time and an offset.
//
// Exact for the last 256 events, as steps from one event to the next (8 bytes). Further back, to
// 32,768 events, seven rings of 16 marks, one for every 32nd, 64th .. 2,048th event: the mark at or
// before an event, off by at most a seventh of its age (2 / 15). (An onset that old is less certain
// than that: at .25 sigma the best start has a spread of tens of events.)
// A step between two events is cut to +-24.8 days of time and to 4e9 records: after a silence that
// was longer, times are behind by what was cut off until the next events catch up.
// Control's thread. Memory: 3.4 KB, all of it from the start.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "drift/pieces.h"

namespace trimtab::drift {

struct Mark {
  std::int64_t ts_ms = 0;
  std::uint64_t offset = 0;
};

class EventMarks {
 public:
  static constexpr std::size_t kRecent = 256;
  static constexpr std::size_t kLevels = 7;
  static constexpr std::size_t kLevelMarks = 16;
  static constexpr std::uint64_t kReach = 32'768;

  EventMarks();

  // The next event. Returns the time that is kept for it (see above; else the event's own).
  std::int64_t note(const Mark& mark);
  // The time that note() keeps for an event of `ts_ms` behind one that it has kept `newest_ms` for.
  [[nodiscard]] static std::int64_t kept_time(std::int64_t newest_ms, std::int64_t ts_ms);
  // Events noted; the newest has this number.
  [[nodiscard]] std::uint64_t events() const { return events_; }
  [[nodiscard]] const Mark& newest() const { return newest_; }
  // Times of the newest `count` events, newest first. REQUIRES: count <= kRecent, events().
  [[nodiscard]] std::vector<std::int64_t> newest_times(std::uint64_t count) const;
  // The mark at or before `event`, from 1; the oldest there is when it lies beyond kReach.
  [[nodiscard]] Mark at_or_before(std::uint64_t event) const;

  // `prefix` as "segment/0/": pieces "marks/0" .. and "sparse/0" ..
  void save(const std::string& prefix, SaveMode mode, std::vector<StatePiece>& out) const;
  void mark_saved();
  // `events` and `newest` come from where they were saved (put()).
  [[nodiscard]] Status restore(const std::string& prefix, const PieceMap& pieces,
                               std::uint64_t events, const Mark& newest);

 private:
  struct Step {
    std::int32_t ms = 0;
    std::uint32_t records = 0;
  };
  // 48 bits each: until the year 10,889 and 2.8e14 records.
  struct Sparse {
    std::array<std::uint16_t, 3> ts_ms{};
    std::array<std::uint16_t, 3> offset{};
  };
  [[nodiscard]] static Sparse packed(const Mark& mark);
  [[nodiscard]] static Mark unpacked(const Sparse& sparse);

  std::uint64_t events_ = 0;
  Mark newest_;
  ChunkedVector<Step, 64> steps_;     // ring: from the event before to the one of this slot
  ChunkedVector<Sparse, 16> sparse_;  // [kLevels, kLevelMarks]
};

}  // namespace trimtab::drift
