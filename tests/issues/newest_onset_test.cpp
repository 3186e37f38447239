// A drift alarm that nobody confirmed stays open. When a later change did harm, the job that
// answered it took the first alarm's onset and so trained on all that had come since then, of which
// the newest topic was a small part (kitchen .129 in one run of the demo). The newest drift says
// since when the world is as it is now.
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/issues/one_target.h"

namespace trimtab::daemon {
namespace {

using Json = nlohmann::json;

// `count` records with about `tokens` prompt tokens, each with a random label.
void ask(OneTarget& life, Random& random, int count, int tokens, bool right) {
  std::vector<Json> batch;
  for (int i = 0; i < count; ++i) {
    const int in = tokens + static_cast<int>(random.below(10));
    const auto record = life.record("question " + std::to_string(random.next()),
                                    {{"tok", {{"in", in}, {"out", 1}}}});
    batch.push_back(record);
    batch.push_back(life.label(record, right, right ? "" : "refund"));
    if (batch.size() == 40 || i + 1 == count) {
      life.step(batch);
      batch.clear();
    }
  }
}

TEST(NewestOnset, IsTheJobs) {
  auto target = quiet_target();
  target.drift.signals = {{.name = "tokens_in", .source = "tokens_in"}};
  target.drift.harm = {{.name = "label_loss"}};
  target.retrain.minimum_examples = 40;
  OneTarget life(target);
  Random random(11);
  ask(life, random, 600, 5, true);
  ASSERT_EQ(life.view().at("drift").at("state"), "armed");
  ask(life, random, 700, 60, true);  // longer prompts, right answers: drift without harm
  auto alarms = life.documents("alarm");
  ASSERT_EQ(alarms.size(), 1U);
  ASSERT_EQ(life.view().at("drift").at("state"), "armed") << "no provisional reference";
  EXPECT_TRUE(life.documents("job").empty()) << "an unconfirmed drift is no reason to train";

  ask(life, random, 300, 160, false);  // longer still, and wrong
  alarms = life.documents("alarm");
  std::int64_t first = 0, newest = 0;
  bool harm = false;
  for (const auto& alarm : alarms) {
    const auto onset = alarm.at("onset").at("ts_ms").get<std::int64_t>();
    if (alarm.at("kind") == "harm") harm = true;
    if (alarm.at("kind") == "drift") (first == 0 ? first : newest) = onset;
  }
  EXPECT_TRUE(harm);
  ASSERT_GT(newest, first);
  const auto jobs = life.documents("job");
  ASSERT_EQ(jobs.size(), 1U);
  EXPECT_EQ(jobs[0].at("onset_ms"), newest);
}

}  // namespace
}  // namespace trimtab::daemon
