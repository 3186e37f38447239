// Policy: every gate says no with its reason, in the documented order, and yes otherwise.
#include "retrain/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"

namespace trimtab::retrain {
namespace {

using config::RetrainSettings;
using config::Trigger;
using testing::HasSubstr;

constexpr std::int64_t kHour = 3'600'000, kDay = 24 * kHour;
const std::int64_t kNow = *parse_rfc3339("2026-11-23T12:00:00Z");

PolicyInputs harm_alarm() {
  PolicyInputs inputs;
  inputs.now_ms = kNow;
  inputs.examples = 500;
  inputs.alarms = {{.id = "al-7", .harm = true, .at_ms = kNow - kHour}};
  return inputs;
}

TEST(Policy, HarmStartsAJob) {
  const Decision decision = decide(harm_alarm(), {});
  EXPECT_TRUE(decision.start);
  EXPECT_EQ(decision.trigger, Trigger::kHarm);
  EXPECT_EQ(decision.reason, "harm");
  EXPECT_EQ(decision.alarm_id, "al-7");
  EXPECT_THAT(decision.message, HasSubstr("500 examples"));
}

TEST(Policy, DriftAloneDoesNotByDefault) {
  PolicyInputs inputs = harm_alarm();
  inputs.alarms[0].harm = false;
  Decision decision = decide(inputs, {});
  EXPECT_FALSE(decision.start);
  EXPECT_EQ(decision.reason, "trigger_disabled");
  EXPECT_EQ(decision.trigger, Trigger::kDrift);
  inputs.alarms[0].confirmed = true;
  decision = decide(inputs, {});
  EXPECT_TRUE(decision.start);
  EXPECT_EQ(decision.reason, "drift_confirmed");
  RetrainSettings settings;
  settings.triggers = {Trigger::kDrift};
  EXPECT_EQ(decide(inputs, settings).reason, "drift");
}

TEST(Policy, NothingAsks) {
  PolicyInputs inputs;
  inputs.now_ms = kNow;
  EXPECT_EQ(decide(inputs, {}).reason, "no_trigger");
}

TEST(Policy, GatesThatHoldBackEveryJob) {
  PolicyInputs inputs = harm_alarm();
  inputs.manual = ManualRequest{"ann", "try"};
  inputs.running_trial = "trial-3";
  EXPECT_EQ(decide(inputs, {}).reason, "trial_running");
  inputs.running_job = "job-2";
  EXPECT_EQ(decide(inputs, {}).reason, "job_running");
  inputs.disk_low = true;
  EXPECT_EQ(decide(inputs, {}).reason, "disk_low");
  inputs.paused = true;
  inputs.pause_reason = "undo";
  const Decision decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "paused");
  EXPECT_THAT(decision.message, HasSubstr("undo"));
}

TEST(Policy, ManualPassesCooldownBudgetAndHoursButNotTheDataGate) {
  PolicyInputs inputs = harm_alarm();
  inputs.last_end_ms = kNow - 1;
  inputs.automatic_starts_ms.assign(10, kNow - kHour);
  RetrainSettings settings;
  settings.allowed_hours = {"01:00-02:00"};
  EXPECT_FALSE(decide(inputs, settings).start);
  inputs.manual = ManualRequest{"ann", "because"};
  const Decision decision = decide(inputs, settings);
  EXPECT_TRUE(decision.start);
  EXPECT_EQ(decision.reason, "manual");
  EXPECT_EQ(decision.alarm_id, "al-7");
  EXPECT_THAT(decision.message, HasSubstr("ann asked: because"));
  inputs.examples = 10;
  EXPECT_EQ(decide(inputs, settings).reason, "not_enough_examples");
}

TEST(Policy, TooLittleDataWaitsThenAlerts) {
  PolicyInputs inputs = harm_alarm();
  inputs.examples = 199;
  Decision decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "not_enough_examples");
  EXPECT_FALSE(decision.alert);
  EXPECT_THAT(decision.message, HasSubstr("199 of 200"));
  inputs.alarms[0].at_ms = kNow - 2 * kDay;
  EXPECT_TRUE(decide(inputs, {}).alert);
  inputs.quarantined = 1;
  EXPECT_EQ(decide(inputs, {}).reason, "quarantine");
}

TEST(Policy, CooldownSaysUntilWhen) {
  PolicyInputs inputs = harm_alarm();
  inputs.last_end_ms = kNow - 2 * kHour;
  const Decision decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "cooldown");
  EXPECT_EQ(decision.retry_at_ms, kNow + 4 * kHour);
  inputs.now_ms = decision.retry_at_ms;
  EXPECT_TRUE(decide(inputs, {}).start);
}

TEST(Policy, BudgetFreesWhenTheOldestIsADayOld) {
  PolicyInputs inputs = harm_alarm();
  inputs.automatic_starts_ms = {kNow - 30 * kHour, kNow - 20 * kHour, kNow - 3 * kHour,
                                kNow - 2 * kHour, kNow - kHour};
  const Decision decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "budget");
  EXPECT_EQ(decision.retry_at_ms, kNow + 4 * kHour);
  inputs.now_ms = decision.retry_at_ms;
  EXPECT_TRUE(decide(inputs, {}).start);
  RetrainSettings none;
  none.max_jobs_per_day = 0;
  inputs.automatic_starts_ms.clear();
  EXPECT_EQ(decide(inputs, none).reason, "budget");
}

TEST(Policy, AllowedHoursMayWrapMidnight) {
  PolicyInputs inputs = harm_alarm();
  RetrainSettings settings;
  settings.allowed_hours = {"22:00-06:00", "13:00-13:30"};
  const Decision decision = decide(inputs, settings);
  EXPECT_EQ(decision.reason, "outside_hours");
  EXPECT_EQ(format_rfc3339(decision.retry_at_ms), "2026-11-23T13:00:00.000Z");
  EXPECT_TRUE(inside_hours(settings.allowed_hours, *parse_rfc3339("2026-11-23T05:59:00Z")));
  EXPECT_FALSE(inside_hours(settings.allowed_hours, *parse_rfc3339("2026-11-23T06:00:00Z")));
  EXPECT_TRUE(inside_hours(settings.allowed_hours, *parse_rfc3339("2026-11-23T23:00:00Z")));
}

TEST(Policy, AfterARejectionTheDataMustGrow) {
  PolicyInputs inputs = harm_alarm();
  inputs.alarms[0].tries = 1;
  inputs.alarms[0].examples_at_last_try = 400;
  Decision decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "waits_for_growth");
  EXPECT_THAT(decision.message, HasSubstr("tried again at 600"));
  inputs.examples = 600;
  EXPECT_TRUE(decide(inputs, {}).start);
  inputs.alarms[0].tries = 3;
  inputs.examples = 100'000;
  decision = decide(inputs, {});
  EXPECT_EQ(decision.reason, "tries_exhausted");
  EXPECT_TRUE(decision.alert);
}

TEST(Policy, AnExhaustedAlarmDoesNotSilenceANewOne) {
  PolicyInputs inputs = harm_alarm();
  inputs.alarms[0].tries = 3;
  inputs.alarms.push_back({.id = "al-9", .harm = true, .at_ms = kNow});
  const Decision decision = decide(inputs, {});
  EXPECT_TRUE(decision.start);
  EXPECT_EQ(decision.alarm_id, "al-9");
}

TEST(Policy, VolumeAndSchedule) {
  PolicyInputs inputs;
  inputs.now_ms = kNow;
  inputs.examples = 9'000;
  inputs.new_examples = 5'000;
  RetrainSettings settings;
  settings.triggers = {Trigger::kVolume, Trigger::kSchedule};
  EXPECT_EQ(decide(inputs, settings).reason, "volume");
  inputs.new_examples = 4'999;
  EXPECT_EQ(decide(inputs, settings).reason, "no_trigger");
  inputs.armed_since_ms = kNow - 7 * kDay;
  EXPECT_EQ(decide(inputs, settings).reason, "schedule");
  inputs.last_job_start_ms = kNow - kDay;
  EXPECT_EQ(decide(inputs, settings).reason, "no_trigger");
}

}  // namespace
}  // namespace trimtab::retrain
