// What a segment remembers of its past events, against the events themselves.
#include "drift/event_marks.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "drift/bin_ring.h"

namespace trimtab::drift {
namespace {

// A log whose clock stumbles: later events may be earlier by up to two seconds.
std::vector<Mark> log_of(std::size_t events, std::uint64_t seed) {
  Random random(seed);
  std::vector<Mark> log;
  Mark mark{1'763'859'100'000, 5'000'000'000};
  for (std::size_t i = 0; i < events; ++i) {
    mark.ts_ms += static_cast<std::int64_t>(random.below(10'000)) - 2'000;
    mark.offset += 1 + random.below(1'000);
    log.push_back(mark);
  }
  return log;
}

TEST(EventMarks, ExactForTheLast256AndByASeventhOfTheAgeBehindThem) {
  const auto log = log_of(70'000, 7);
  EventMarks marks;
  for (std::size_t n = 0; n < log.size(); ++n) {
    EXPECT_EQ(marks.note(log[n]), log[n].ts_ms);
    if (n % 997 != 0) continue;
    const std::uint64_t events = n + 1;
    for (std::uint64_t age = 0; age < std::min<std::uint64_t>(events, 256); ++age) {
      const Mark mark = marks.at_or_before(events - age);
      ASSERT_EQ(mark.offset, log[n - age].offset);
      ASSERT_EQ(mark.ts_ms, log[n - age].ts_ms);
    }
    const std::uint64_t oldest = events > 32 ? std::min<std::uint64_t>(events - 32, 30'000) : 0;
    for (std::uint64_t age = 256; age < oldest; age += 61) {
      const Mark mark = marks.at_or_before(events - age);
      ASSERT_LE(mark.offset, log[n - age].offset);
      const std::uint64_t earliest = age + age / 7 + 1;
      ASSERT_GE(mark.offset, log[n - std::min<std::uint64_t>(n, earliest)].offset) << age;
    }
  }
}

TEST(EventMarks, TimesOfTheNewest) {
  const auto log = log_of(600, 3);
  EventMarks marks;
  for (const Mark& mark : log) marks.note(mark);
  const auto times = marks.newest_times(256);
  for (std::size_t back = 0; back < times.size(); ++back) {
    EXPECT_EQ(times[back], log[log.size() - 1 - back].ts_ms);
  }
}

TEST(EventMarks, ALongSilenceIsCaughtUpWith) {
  constexpr std::int64_t kDay = 86'400'000;
  EventMarks marks;
  EXPECT_EQ(marks.note({0, 1}), 0);
  EXPECT_EQ(marks.note({40 * kDay, 2}), std::numeric_limits<std::int32_t>::max());
  EXPECT_EQ(marks.note({40 * kDay, 3}), 40 * kDay);
  EXPECT_EQ(marks.at_or_before(1).ts_ms, 0);
}

TEST(EventMarks, ComeBackAsTheyWereSaved) {
  const auto log = log_of(3'000, 5);
  EventMarks marks;
  for (const Mark& mark : log) marks.note(mark);
  std::vector<StatePiece> saved;
  marks.save("segment/1/", SaveMode::kAll, saved);
  PieceMap pieces;
  for (const auto& piece : saved) pieces[piece.name] = piece.bytes;
  EventMarks back;
  ASSERT_TRUE(back.restore("segment/1/", pieces, marks.events(), marks.newest()));
  for (std::uint64_t event = 1'000; event <= 3'000; ++event) {
    EXPECT_EQ(back.at_or_before(event).offset, marks.at_or_before(event).offset);
  }
  EventMarks other;
  EXPECT_FALSE(other.restore("segment/1/", pieces, 10, marks.newest()));
  pieces.erase("segment/1/sparse/1");
  EXPECT_FALSE(other.restore("segment/1/", pieces, marks.events(), marks.newest()));
}

TEST(BinRing, KeepsTheLast256) {
  Random random(11);
  std::vector<std::uint8_t> bins;
  BinRing ring;
  EXPECT_EQ(ring.get(17), BinRing::kNotFed);
  for (std::uint64_t event = 0; event < 1'000; ++event) {
    bins.push_back(static_cast<std::uint8_t>(random.below(64)));
    ring.set(event, bins.back());
    for (std::uint64_t back = 0; back < std::min<std::uint64_t>(event + 1, 256); ++back) {
      ASSERT_EQ(ring.get(event - back), bins[event - back]);
    }
  }
}

}  // namespace
}  // namespace trimtab::drift
