// Backtest: the daemon's monitor over past records, at several promises at once.
#include "drift/backtest.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/random.h"

namespace trimtab::drift {
namespace {

TEST(Backtest, FindsTheDriftOnceAndShowsWhatOtherPromisesWouldCost) {
  config::DriftSettings settings;
  settings.reference_size = 1000;
  settings.false_alarms_per_ms = 3'600'000;
  settings.signals.resize(2);
  settings.signals[0].source = "tokens_in";
  settings.signals[1].source = "finish";
  auto backtest = Backtest::create(settings);
  ASSERT_TRUE(backtest.has_value()) << backtest.error().message;
  Random random(1);
  int alarms = 0;
  for (int i = 0; i < 6000; ++i) {
    RecordView record;
    const std::string id = "r" + std::to_string(i);
    record.id = id;
    record.ts_ms = 1'700'000'000'000 + 100LL * i;
    record.offset = static_cast<std::uint64_t>(i);
    record.tokens_in = std::floor(std::exp(4.0 + 0.5 * random.normal() + (i >= 4000 ? 0.5 : 0.0)));
    record.finish = random.chance(0.9) ? "stop" : "length";
    Observation event;
    ASSERT_TRUE(backtest->extractor().extract(record, event));
    std::vector<Backtest::Raised> raised;
    backtest->observe(event, raised);
    for (const auto& one : raised) alarms += one.run == 0 ? 1 : 0;
  }
  const BacktestResult result = backtest->result();
  EXPECT_EQ(alarms, 1);
  ASSERT_EQ(result.configured().alarms.size(), 1U);
  const Alarm& alarm = result.configured().alarms[0];
  EXPECT_EQ(alarm.signal, "tokens_in");
  EXPECT_GE(alarm.offset, 4000U);
  EXPECT_LT(alarm.offset, 4200U);
  ASSERT_EQ(result.runs.size(), 4U);
  for (const BacktestRun& run : result.runs) EXPECT_GE(run.alarms.size(), 1U) << run.scale;
  EXPECT_GT(result.configured().armed_ms, 300'000);
  EXPECT_EQ(result.records, 6000U);
  const Json document = to_json(result);
  EXPECT_EQ(document["promises"].size(), 4U);
  EXPECT_EQ(document["promises"][0]["alarms"].size(), 1U);
  const Json& rows = document["promises"][0]["signals"];
  ASSERT_EQ(rows.size(), 4U);  // two signals, two harm metrics
  EXPECT_EQ(rows[0]["signal"], "tokens_in");
  EXPECT_EQ(rows[0]["alarms"], 1);
  EXPECT_DOUBLE_EQ(rows[0]["measured_run_ms"].get<double>(), rows[0]["armed_ms"].get<double>());
  EXPECT_EQ(rows[1]["alarms"], 0);
  EXPECT_TRUE(rows[1]["measured_run_ms"].is_null());
  EXPECT_EQ(document["alarms"].size(), 1U);
  EXPECT_NE(to_table(result).find("<- configured"), std::string::npos);
  const std::string svg = to_svg(result);
  EXPECT_EQ(svg.rfind("<svg", 0), 0U);
  EXPECT_NE(svg.find("polyline"), std::string::npos);
}

TEST(Backtest, TooFewRecordsSaySo) {
  config::DriftSettings settings;
  auto backtest = Backtest::create(settings);
  ASSERT_TRUE(backtest.has_value());
  const std::string table = to_table(backtest->result());
  EXPECT_NE(table.find("never armed: collecting, 0 of 10000"), std::string::npos);
}

}  // namespace
}  // namespace trimtab::drift
