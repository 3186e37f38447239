// Labels come late: those of the champion before arrive after the promotion. They were counted
// against the new one, whose baseline they could even enter.
#include <gtest/gtest.h>

#include "drift/harm.h"

namespace trimtab::drift {
namespace {

constexpr double kThreshold = 1e9;

bool feed(HarmWatch& watch, int count, std::int64_t from_ms, double value) {
  bool alarmed = false;
  for (int i = 0; i < count; ++i) {
    Outcome outcome;
    outcome.ts_ms = from_ms + i * 10;
    outcome.value = value;
    alarmed |= watch.observe(outcome, true).has_value();
  }
  return alarmed;
}

TEST(LateOutcomes, OfTheChampionBeforeAreNotTheNewOnes) {
  HarmWatch watch({.name = "label_loss"}, kThreshold, 0.01, "harm/0/");
  ASSERT_FALSE(feed(watch, 400, 1'000, 0.0));
  watch.renew(100'000);
  EXPECT_FALSE(feed(watch, 300, 90'000, 1.0)) << "300 old failures came late";
  EXPECT_EQ(watch.status().outcomes, 400U);
  EXPECT_FALSE(feed(watch, 400, 100'000, 0.0));
  EXPECT_NEAR(watch.status().reference_rate, 0.0, 1e-12);
  EXPECT_TRUE(feed(watch, 300, 110'000, 1.0)) << "new failures must still be harm";
}

}  // namespace
}  // namespace trimtab::drift
