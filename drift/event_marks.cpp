#include "drift/event_marks.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace trimtab::drift {
namespace {

// Events between two marks of a level: 32, 64 .. 2,048.
constexpr std::uint64_t every(std::size_t level) { return 32ULL << level; }
static_assert(every(EventMarks::kLevels - 1) * EventMarks::kLevelMarks == EventMarks::kReach);

std::array<std::uint16_t, 3> low_48(std::uint64_t value) {
  return {static_cast<std::uint16_t>(value), static_cast<std::uint16_t>(value >> 16),
          static_cast<std::uint16_t>(value >> 32)};
}
std::uint64_t joined(const std::array<std::uint16_t, 3>& parts) {
  return static_cast<std::uint64_t>(parts[0]) | static_cast<std::uint64_t>(parts[1]) << 16 |
         static_cast<std::uint64_t>(parts[2]) << 32;
}

}  // namespace

EventMarks::EventMarks() {
  steps_.reserve(kRecent);
  sparse_.reserve(kLevels * kLevelMarks);
}

EventMarks::Sparse EventMarks::packed(const Mark& mark) {
  return {low_48(static_cast<std::uint64_t>(mark.ts_ms)), low_48(mark.offset)};
}

Mark EventMarks::unpacked(const Sparse& sparse) {
  // Sign-extended: a time before 1970 stays one.
  const auto ts_ms = static_cast<std::int64_t>(joined(sparse.ts_ms) << 16) >> 16;
  return {ts_ms, joined(sparse.offset)};
}

std::int64_t EventMarks::kept_time(std::int64_t newest_ms, std::int64_t ts_ms) {
  using Ms = std::numeric_limits<std::int32_t>;
  return newest_ms + std::clamp<std::int64_t>(ts_ms - newest_ms, Ms::min(), Ms::max());
}

std::int64_t EventMarks::note(const Mark& mark) {
  using Records = std::numeric_limits<std::uint32_t>;
  Step step;
  if (events_ == 0) {
    newest_ = mark;
  } else {
    step.ms = static_cast<std::int32_t>(kept_time(newest_.ts_ms, mark.ts_ms) - newest_.ts_ms);
    const std::uint64_t records = mark.offset > newest_.offset ? mark.offset - newest_.offset : 0;
    step.records = static_cast<std::uint32_t>(std::min<std::uint64_t>(records, Records::max()));
    newest_.ts_ms += step.ms;
    newest_.offset += step.records;
  }
  ++events_;
  // Place 0 of every level stands for the beginning, until the ring comes round to it.
  while (sparse_.size() < kLevels * kLevelMarks) sparse_.push_back(packed(newest_));
  const std::size_t slot = events_ % kRecent;
  while (steps_.size() <= slot) steps_.push_back({});
  steps_.set(slot, step);
  for (std::size_t level = 0; level < kLevels && events_ % every(level) == 0; ++level) {
    sparse_.set(level * kLevelMarks + events_ / every(level) % kLevelMarks, packed(newest_));
  }
  return newest_.ts_ms;
}

std::vector<std::int64_t> EventMarks::newest_times(std::uint64_t count) const {
  CHECK(count <= kRecent && count <= events_, "times of events that are not kept");
  std::vector<std::int64_t> times;
  times.reserve(count);
  std::int64_t ts_ms = newest_.ts_ms;
  for (std::uint64_t back = 0; back < count; ++back) {
    times.push_back(ts_ms);
    ts_ms -= steps_[(events_ - back) % kRecent].ms;
  }
  return times;
}

Mark EventMarks::at_or_before(std::uint64_t event) const {
  event = std::clamp<std::uint64_t>(event, 1, std::max<std::uint64_t>(events_, 1));
  if (events_ - event < kRecent) {
    Mark mark = newest_;
    for (std::uint64_t at = events_; at > event; --at) {
      mark.ts_ms -= steps_[at % kRecent].ms;
      mark.offset -= steps_[at % kRecent].records;
    }
    return mark;
  }
  // The finest level that still has it; of the coarsest the oldest.
  for (std::size_t level = 0; level < kLevels; ++level) {
    const std::uint64_t newest = events_ / every(level);
    std::uint64_t wanted = event / every(level);
    const bool last = level + 1 == kLevels;
    if (last && newest >= kLevelMarks) wanted = std::max(wanted, newest - kLevelMarks + 1);
    if (newest < wanted || newest - wanted >= kLevelMarks) continue;
    return unpacked(sparse_[level * kLevelMarks + wanted % kLevelMarks]);
  }
  return newest_;
}

void EventMarks::save(const std::string& prefix, SaveMode mode,
                      std::vector<StatePiece>& out) const {
  steps_.save(prefix + "marks/", mode, out);
  sparse_.save(prefix + "sparse/", mode, out);
}

void EventMarks::mark_saved() {
  steps_.mark_saved();
  sparse_.mark_saved();
}

Status EventMarks::restore(const std::string& prefix, const PieceMap& pieces, std::uint64_t events,
                           const Mark& newest) {
  TRIMTAB_CHECK_OK(steps_.restore(prefix + "marks/", pieces));
  TRIMTAB_CHECK_OK(sparse_.restore(prefix + "sparse/", pieces));
  const std::uint64_t kept = events == 0 ? 0 : std::min<std::uint64_t>(events + 1, kRecent);
  // What at_or_before() may ask for must be there.
  const std::size_t marks = events == 0 ? 0 : kLevels * kLevelMarks;
  if (steps_.size() != kept || sparse_.size() != marks) {
    return fail(Code::kCorrupt, "drift state: the marks of " + prefix + " do not fit");
  }
  events_ = events;
  newest_ = newest;
  return {};
}

}  // namespace trimtab::drift
