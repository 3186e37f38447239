// Phase 3 of the demo promoted nothing: while a candidate baked, almost all answers were its own,
// their lengths and labels raised a drift alarm against the champion's reference, and that alarm's
// onset was taken for the next job. Answers of another adapter than the champion say nothing about
// the champion's outputs, whatever arm they were drawn for.
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/issues/one_target.h"

namespace trimtab::daemon {
namespace {

using Json = nlohmann::json;

config::TargetSettings output_watcher() {
  auto target = quiet_target();
  target.drift.signals = {{.name = "output_chars", .source = "output_chars"}};
  target.drift.harm = {{.name = "error"}};
  return target;
}

// `count` records whose answers have `least` to `least` + 9 letters, by `adapter`.
void answer(OneTarget& life, Random& random, int count, std::size_t least, const Json& adapter) {
  std::vector<Json> batch;
  for (int i = 0; i < count; ++i) {
    const std::string output(least + random.below(10), 'x');
    batch.push_back(life.record("where is it", {{"output", output}, {"adapter", adapter}}));
    if (batch.size() == 20 || i + 1 == count) {
      life.step(batch);
      batch.clear();
    }
  }
}

TEST(OtherChampionsOutput, RaisesNoAlarmAndEntersNoReference) {
  OneTarget life(output_watcher());
  Random random(7);
  answer(life, random, 300, 5, nullptr);
  answer(life, random, 300, 60, "bot-other");
  // The reference counts the champion's answers only.
  EXPECT_EQ(life.view().at("drift").at("collected"), 300);
  answer(life, random, 300, 5, nullptr);
  ASSERT_EQ(life.view().at("drift").at("state"), "armed");
  answer(life, random, 400, 60, "bot-other");
  EXPECT_TRUE(life.documents("alarm").empty()) << life.documents("alarm").front().dump(1);
  // The same from the champion itself is a change.
  answer(life, random, 200, 60, nullptr);
  EXPECT_EQ(life.documents("alarm").size(), 1U);
}

}  // namespace
}  // namespace trimtab::daemon
