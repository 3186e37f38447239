// Harm that is over before a job answers it: a burst of poisoned complaints raised a harm alarm
// that stayed open for ever, so that the target trained again and again on data in which nothing
// was wrong any more. It is closed as `recovered`.
#include <gtest/gtest.h>

#include "tests/issues/one_target.h"

namespace trimtab::daemon {
namespace {

using Json = nlohmann::json;

void ask(OneTarget& life, int count, bool right, const std::string& correction = "") {
  std::vector<Json> batch;
  for (int i = 0; i < count; ++i) {
    const auto record = life.record("question " + std::to_string(life.now_ms()) + " " +
                                    std::to_string(i));
    batch.push_back(record);
    batch.push_back(life.label(record, right, correction));
    if (batch.size() == 40 || i + 1 == count) {
      life.step(batch);
      batch.clear();
    }
  }
}

TEST(RecoveredHarm, AsksForNoJob) {
  auto target = quiet_target();
  target.drift.harm = {{.name = "label_loss"}};
  target.retrain.data.good_answers = false;  // only corrections are examples
  target.retrain.minimum_examples = 20;
  OneTarget life(target);
  ask(life, 600, true);
  ask(life, 80, false);  // a bare "wrong" teaches nothing: the alarm waits
  auto alarms = life.documents("alarm");
  ASSERT_EQ(alarms.size(), 1U);
  EXPECT_EQ(alarms[0].at("kind"), "harm");
  EXPECT_EQ(alarms[0].at("state"), "open");
  EXPECT_EQ(life.view().at("open_alarms"), 1);

  ask(life, 400, true);
  alarms = life.documents("alarm");
  ASSERT_EQ(alarms.size(), 1U);
  EXPECT_EQ(alarms[0].at("state"), "recovered");
  EXPECT_EQ(life.view().at("open_alarms"), 0);
  // Corrections here and there, below the tolerance: no reason to train.
  for (int i = 0; i < 40; ++i) {
    ask(life, 39, true);
    ask(life, 1, false, "refund");
  }
  EXPECT_TRUE(life.documents("job").empty());

  ask(life, 120, false, "refund");  // harm again: a new alarm, and now it can be answered
  EXPECT_EQ(life.documents("alarm").size(), 2U);
  EXPECT_EQ(life.documents("job").size(), 1U);
}

}  // namespace
}  // namespace trimtab::daemon
