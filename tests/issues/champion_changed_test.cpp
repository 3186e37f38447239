// After an undo the outputs of another champion met the reference of the one before: a drift alarm
// of our own making. The references are taken anew; harm's baselines stay.
#include <gtest/gtest.h>

#include "base/random.h"
#include "drift/monitor.h"

namespace trimtab::drift {
namespace {

TEST(ChampionChanged, TakesReferencesAnewAndKeepsHarmsBaseline) {
  config::DriftSettings settings;
  settings.reference_size = 500;
  settings.signals = {{.name = "output_chars", .source = "output_chars"}};
  settings.harm = {{.name = "label_loss"}};
  auto monitor = Monitor::create(settings).value();
  Random random(3);
  std::int64_t ts_ms = 1'000;
  int alarms = 0;
  const auto live = [&](int count, double chars, double loss) {
    for (int i = 0; i < count; ++i) {
      ts_ms += 100;
      Observation event;
      event.ts_ms = ts_ms;
      event.signal_count = 1;
      event.numbers[0] = chars + static_cast<double>(random.below(10));
      alarms += monitor.observe(event).has_value();
      monitor.tick(ts_ms);
      Outcome outcome;
      outcome.ts_ms = ts_ms;
      outcome.value = random.uniform() < loss ? 1.0 : 0.0;
      alarms += monitor.observe_outcome(outcome).has_value();
    }
  };
  live(700, 10, 0.02);
  ASSERT_EQ(monitor.state(), MonitorState::kArmed);
  const double baseline = monitor.status().harm[0].baseline;
  monitor.champion_changed("undo");
  EXPECT_EQ(monitor.state(), MonitorState::kCollecting);
  EXPECT_EQ(monitor.status().harm[0].baseline, baseline);
  live(700, 60, 0.02);  // the other champion is wordy, and was always so
  EXPECT_EQ(monitor.state(), MonitorState::kArmed);
  EXPECT_EQ(alarms, 0);
  live(200, 60, 0.5);
  EXPECT_EQ(alarms, 1) << "harm is absolute";
}

}  // namespace
}  // namespace trimtab::drift
