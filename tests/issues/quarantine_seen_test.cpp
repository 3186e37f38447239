// What the quarantine holds back was looked at only when a job might come of it: a flood of
// corrections without an open alarm was seen by nobody until somebody asked for a job, and could
// not be released. It is told within half a minute, and a release is seen as soon.
#include <gtest/gtest.h>

#include "tests/issues/one_target.h"

namespace trimtab::daemon {
namespace {

using Json = nlohmann::json;

TEST(QuarantineSeen, WithoutAnAlarmOrAJob) {
  auto target = quiet_target();
  target.retrain.data.quarantine_window_ms = 10'000;
  target.retrain.data.quarantine_factor_all = 100;  // the source's burst alone
  OneTarget life(target);
  const auto say = [&](const std::string& source, int count) {
    std::vector<Json> batch;
    for (int i = 0; i < count; ++i) {
      batch.push_back(life.record("words " + source + std::to_string(life.now_ms() + i)));
      Json made = life.label(batch.back(), false, "wrong_label");
      made["feedback_id"] = "c-" + batch.back().at("id").get<std::string>();
      made["name"] = "complaint";
      made["selection"] = "user";
      made["source_id"] = source;
      made.erase("propensity");
      batch.push_back(std::move(made));
    }
    life.step(batch);
  };
  for (int i = 0; i < 60; ++i) say("user-" + std::to_string(i % 12), i % 4 == 0 ? 1 : 0);
  EXPECT_EQ(life.view().at("quarantine").size(), 0U);
  for (int i = 0; i < 6; ++i) say("poison", 25);
  for (int i = 0; i < 31; ++i) life.step();

  const auto held = life.view();
  EXPECT_TRUE(life.documents("alarm").empty());
  ASSERT_EQ(held.at("quarantine").size(), 1U) << held.dump(1);
  EXPECT_EQ(held.at("quarantine")[0].at("source"), "poison");
  EXPECT_GT(held.at("quarantined"), 30);
  EXPECT_TRUE(life.documents("job").empty());

  EXPECT_EQ(life.command("release_quarantine").status, 202);
  life.step();
  EXPECT_EQ(life.view().at("quarantine").size(), 0U);
  EXPECT_EQ(life.view().at("quarantined"), 0);
}

}  // namespace
}  // namespace trimtab::daemon
