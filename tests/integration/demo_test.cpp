// The main job, end to end on the real programs: steady traffic, a topic that arrives, and the
// adapter that answers it promoted, as `./dev demo --headless --phases 1,2` plays it, in full size:
// with 400 labelled records before the arrival there was too little to replay, and the older
// domains lost .022. Waits for events only; what it checks is the scenario's own verdict and that
// the report says what docs/DEMO.md promises.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "daemon/demo/child_process.h"
#include "tests/paths.h"

namespace trimtab::demo {
namespace {

constexpr std::int64_t kLimitMs = 1'500'000;

TEST(Demo, ATopicArrivesAndIsLearned) {
  TempFolder folder("trimtab-demo-test");
  SystemClock clock;
  const auto out = folder.path() / "out";
  const auto log = folder.path() / "demo.log";
  const auto program = (tests::bin_dir() / "trimtab-demo").string();
  auto demo =
      ChildProcess::start("demo", {program, "--headless", "--out", out.string(), "--phases", "1,2",
                                   "--seed", "20261125"},
                          log);
  ASSERT_TRUE(demo.has_value()) << demo.error().message;
  const std::int64_t deadline = clock.mono_ms() + kLimitMs;
  while (demo->alive() && clock.mono_ms() < deadline) clock.sleep_ms(200);
  const bool over = !demo->alive();
  const auto said = read_file(log).value_or("");
  ASSERT_TRUE(over) << "the demo did not end:\n" << said;

  const auto text = read_file(out / "report.json");
  ASSERT_TRUE(text.has_value()) << said;
  const Json report = parse_json(*text).value();
  EXPECT_TRUE(report.at("passed").get<bool>()) << report.at("failures").dump(1) << said;
  EXPECT_EQ(report.at("false_alarms"), 0);
  EXPECT_EQ(report.at("requests").at("failed"), 0);
  EXPECT_GT(report.at("records").at("accepted").get<int>(), 1'000);
  ASSERT_EQ(report.at("phases").size(), 2U);
  ASSERT_FALSE(report.at("drifts").empty());
  for (const char* key : {"onset_s", "alarm_s", "delay_records", "signal", "attribution"}) {
    EXPECT_TRUE(report.at("drifts")[0].contains(key)) << key;
  }
  ASSERT_FALSE(report.at("jobs").empty());
  ASSERT_FALSE(report.at("trials").empty());
  const Json& trial = report.at("trials").back();
  EXPECT_EQ(trial.at("outcome"), "PROMOTED");
  EXPECT_GT(trial.at("pairs").get<int>(), 0);
  EXPECT_GT(trial.at("units").at("candidate").get<int>(), 0);
  EXPECT_FALSE(trial.at("srm").at("exposed").at("mismatch").get<bool>());
  EXPECT_TRUE(read_file(out / "report.html").has_value());
}

}  // namespace
}  // namespace trimtab::demo
