// Bursts of corrections were held back without a name that anybody could see, and a release had to
// name one: the quarantine could not be let go. The target's view lists them; a release that names
// neither a burst nor a source lets go what is held back now.
#include <gtest/gtest.h>

#include "tests/issues/one_target.h"

namespace trimtab::daemon {
namespace {

using Json = nlohmann::json;

Json correction(OneTarget& life, const Json& record, const std::string& source) {
  Json made = life.label(record, false, "wrong_label");
  made["feedback_id"] = "c-" + record.at("id").get<std::string>();
  made["name"] = "complaint";
  made["selection"] = "user";
  made["source_id"] = source;
  made.erase("propensity");
  return made;
}

TEST(ReleaseQuarantine, WithoutANameLetsGoWhatIsHeldBack) {
  auto target = quiet_target();
  target.drift.harm = {{.name = "label_loss"}};
  target.retrain.minimum_examples = 30;
  target.retrain.data.quarantine_window_ms = 10'000;
  target.retrain.data.quarantine_factor_all = 100;  // the source's burst alone
  target.retrain.data.good_answers = false;
  OneTarget life(target);
  const auto say = [&](const std::string& source, int count) {
    std::vector<Json> batch;
    for (int i = 0; i < count; ++i) {
      batch.push_back(life.record("words " + source + std::to_string(life.now_ms() + i)));
      batch.push_back(correction(life, batch.back(), source));
    }
    life.step(batch);
  };
  for (int i = 0; i < 60; ++i) say("user-" + std::to_string(i % 12), i % 4 == 0 ? 1 : 0);
  for (int i = 0; i < 6; ++i) say("poison", 25);

  const auto asked = life.command("retrain");
  EXPECT_EQ(asked.status, 202);
  EXPECT_TRUE(life.documents("job").empty()) << "the burst must not train anybody";
  const auto held = life.view();
  EXPECT_GT(held.at("quarantined"), 30);
  ASSERT_EQ(held.at("quarantine").size(), 1U) << held.at("quarantine").dump();
  EXPECT_EQ(held.at("quarantine")[0].at("source"), "poison");
  EXPECT_NE(held.at("waits_for").get<std::string>().find("quarantine"), std::string::npos);

  const auto released = life.command("release_quarantine");
  EXPECT_EQ(released.status, 202) << released.body;
  EXPECT_NE(released.body.find("burst-"), std::string::npos) << released.body;
  life.step();
  life.step();
  ASSERT_EQ(life.documents("job").size(), 1U) << life.view().dump(1);
  EXPECT_GE(life.documents("job")[0].at("examples"), 30);
}

}  // namespace
}  // namespace trimtab::daemon
