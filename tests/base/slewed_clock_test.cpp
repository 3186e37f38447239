// A wall clock that is set forth or back moves nothing at once; time never goes back.
#include "base/slewed_clock.h"

#include <gtest/gtest.h>

namespace trimtab {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;

class SlewedClockTest : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(SlewedClockTest, AJumpIsLeanedAwaySecondBySecond) {
  ManualClock machine;
  SlewedClock clock(machine);
  machine.advance_ms(10'000);
  const std::int64_t before_ms = clock.now_ms();
  EXPECT_EQ(before_ms, machine.now_ms());
  machine.jump_wall_ms(GetParam());
  EXPECT_EQ(clock.now_ms(), before_ms) << "no time has passed";
  std::int64_t last_ms = before_ms;
  for (int second = 0; second < 11 * 3'600; ++second) {
    machine.advance_ms(1'000);
    const std::int64_t now_ms = clock.now_ms();
    ASSERT_GE(now_ms - last_ms, 899);
    ASSERT_LE(now_ms - last_ms, 1'101);
    last_ms = now_ms;
  }
  EXPECT_LE(std::abs(clock.wall_ahead_ms()), 1) << "together again after ten hours";
}

INSTANTIATE_TEST_SUITE_P(AnHour, SlewedClockTest, ::testing::Values(kHourMs, -kHourMs));

TEST(SlewedClock, WhatIsNoSlipIsTakenAtOnce) {
  ManualClock machine;
  SlewedClock clock(machine);
  machine.jump_wall_ms(SlewedClock::kTakeOverMs + 1'000);
  EXPECT_EQ(clock.now_ms(), machine.now_ms());
  machine.jump_wall_ms(-2 * SlewedClock::kTakeOverMs);
  EXPECT_EQ(clock.now_ms(), machine.now_ms());
}

}  // namespace
}  // namespace trimtab
