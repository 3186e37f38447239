// What an alarm carries: seasons, trails, label-free accuracy, embedding shift, attribution
// figures.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "base/random.h"
#include "drift/attribution.h"
#include "drift/derivation.h"
#include "drift/embedding_shift.h"
#include "drift/label_free.h"
#include "drift/monitor.h"
#include "drift/report.h"
#include "drift/seasons.h"

namespace trimtab::drift {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kMonday = 1'767'571'200'000;  // 2026-01-05T00:00:00Z, a Monday

TEST(Seasons, HoursWithEnoughEventsHaveCellsTheRestIsMerged) {
  std::vector<std::int64_t> times;
  for (int day = 0; day < 14; ++day) {
    for (int hour = 0; hour < 24; ++hour) {
      const bool busy = day % 7 == 0 && hour == 10;  // Monday, 10 h
      for (int i = 0; i < (busy ? 1'000 : 20); ++i) {
        times.push_back(kMonday + (day * 24LL + hour) * kHourMs + i * 1'000);
      }
    }
  }
  const Seasons seasons = Seasons::plan(times, 0.0);
  // Weekday day and night from 500 events on; weekend day (12 h x 2 d x 2 x 20 = 960) and night
  // too.
  EXPECT_EQ(seasons.cells(), 6U);
  const std::size_t busy = seasons.cell_of(kMonday + 10 * kHourMs + 5);
  EXPECT_EQ(seasons.name(busy), "Mon 10 h");
  EXPECT_NE(busy, seasons.cell_of(kMonday + 11 * kHourMs));
  EXPECT_EQ(seasons.cell_of(kMonday + 11 * kHourMs), seasons.cell_of(kMonday + 35 * kHourMs));
  EXPECT_EQ(seasons.name(seasons.cell_of(kMonday + 3 * kHourMs)), "night");
  EXPECT_EQ(seasons.name(seasons.cell_of(kMonday + (5 * 24 + 12) * kHourMs)), "weekend day");
  EXPECT_EQ(seasons.cell_of(kMonday - 14LL * 24 * kHourMs + 10 * kHourMs), busy) << "other weeks";
  const Seasons again = Seasons::of(seasons.bytes());
  EXPECT_EQ(again.cells(), seasons.cells());
  EXPECT_EQ(again.cell_of(kMonday + 10 * kHourMs), busy);
  const Seasons moved = Seasons::plan(times, 2.0);
  EXPECT_EQ(moved.name(moved.cell_of(kMonday + 10 * kHourMs)), "Mon 12 h");
  EXPECT_EQ(Seasons::plan({kMonday, kMonday + 10 * kHourMs}, 0).cells(), 1U) << "too short a span";
}

// A signal whose level follows day and night, 16 days of reference.
Observation at(const SignalExtractor& extractor, std::int64_t ts_ms, double value,
               std::uint64_t number) {
  RecordView record;
  const std::string id = "r" + std::to_string(number);
  record.id = id;
  record.ts_ms = ts_ms;
  record.offset = number;
  record.tokens_in = value;
  Observation event;
  EXPECT_TRUE(extractor.extract(record, event));
  return event;
}

config::DriftSettings one_signal() {
  config::DriftSettings settings;
  settings.reference_size = 6'000;
  settings.session_window_ms = 0;
  settings.false_alarms_per_ms = 30LL * 24 * kHourMs;
  settings.signals.resize(1);
  settings.signals[0].source = "tokens_in";
  return settings;
}

TEST(Seasons, ASignalThatFollowsTheDayIsArmedAndKeepsQuietUntilItChanges) {
  const auto settings = one_signal();
  auto made = Monitor::create(settings);
  ASSERT_TRUE(made.has_value());
  Monitor monitor = std::move(*made);
  Random random(11);
  std::uint64_t number = 0;
  int alarms = 0;
  std::optional<Alarm> seen;
  const auto play = [&](double days, double shift) {
    const auto until = number + static_cast<std::uint64_t>(days * 360);
    for (; number < until && !seen; ++number) {
      const std::int64_t ts = kMonday + static_cast<std::int64_t>(number) * 240'000;  // 360 a day
      const int hour = static_cast<int>(ts / kHourMs % 24);
      const double level = hour >= 8 && hour < 20 ? 100.0 : 30.0;
      const double value = std::floor(level + 8.0 * random.normal() + shift);
      if (auto alarm = monitor.observe(at(monitor.extractor(), ts, value, number))) {
        ++alarms;
        seen = std::move(alarm);
      }
    }
  };
  play(17.0, 0.0);
  ASSERT_EQ(monitor.state(), MonitorState::kArmed) << to_json(monitor.status()).dump(2);
  const MonitorStatus status = monitor.status();
  EXPECT_NE(status.signals[0].reason.find("hour of the week"), std::string::npos)
      << status.signals[0].reason;
  play(30.0, 0.0);
  EXPECT_EQ(alarms, 0);
  // Saved and restored in the middle, it goes on the same.
  auto twin = Monitor::create(settings);
  ASSERT_TRUE(twin.has_value());
  const auto restored = twin->restore(monitor.save());
  ASSERT_TRUE(restored.has_value()) << restored.error().message;
  EXPECT_EQ(twin->save(), monitor.save());
  const std::uint64_t changed = number;
  play(4.0, 8.0);
  ASSERT_TRUE(seen.has_value()) << "one sigma more at every hour";
  EXPECT_LT(seen->offset, changed + 150);
  EXPECT_FALSE(seen->season.empty());
  const auto derived = derive_again(seen->trail);
  ASSERT_TRUE(derived.has_value()) << derived.error().message;
  EXPECT_NEAR(derived->evidence, seen->evidence, 1e-6 * seen->evidence);
  EXPECT_EQ(derived->delay_events, seen->delay_events);
}

TEST(Seasons, OffLeavesThePooledReference) {
  auto settings = one_signal();
  settings.seasons = config::Seasons::kOff;
  auto monitor = Monitor::create(settings);
  ASSERT_TRUE(monitor.has_value());
  Random random(11);
  for (std::uint64_t number = 0; number < 6'200; ++number) {
    const std::int64_t ts = kMonday + static_cast<std::int64_t>(number) * 240'000;
    const int hour = static_cast<int>(ts / kHourMs % 24);
    const double value = std::floor((hour >= 8 && hour < 20 ? 100.0 : 30.0) + 8 * random.normal());
    (void)monitor->observe(at(monitor->extractor(), ts, value, number));
  }
  // Runs of day and night: the pooled reference is refused or pays dearly, and says what to do.
  const MonitorStatus status = monitor->status();
  EXPECT_EQ(status.signals[0].reason.find("hour of the week"), std::string::npos);
  EXPECT_NE(status.signals[0].reason.find("measured run"), std::string::npos)
      << status.signals[0].reason;
}

TEST(LabelFree, IsotonicIsThePoolOfAdjacentViolators) {
  const auto fit = IsotonicFit::fit({{-3, 0}, {-2, 1}, {-1, 0}, {0, 1}, {1, 1}});
  EXPECT_DOUBLE_EQ(fit.value(-9), 0.0);
  EXPECT_DOUBLE_EQ(fit.value(-2), 0.5);
  EXPECT_DOUBLE_EQ(fit.value(-1), 0.5);
  EXPECT_DOUBLE_EQ(fit.value(-0.5), 0.5);
  EXPECT_DOUBLE_EQ(fit.value(0), 1.0);
}

// Confidence that means something; labels for 5 % at random.
struct Answers {
  Random random{7};
  int number = 0;
  double logprob = 0.0;
  double right = 0.0;
  std::string id;
  // `quality`: log-odds added to what the confidence claims.
  void next(double quality) {
    id = "a" + std::to_string(number++);
    logprob = -std::fabs(random.normal());
    const double claimed = 2.5 + 2.0 * logprob;
    right = random.chance(1.0 / (1.0 + std::exp(-(claimed + quality)))) ? 1.0 : 0.0;
  }
};

TEST(LabelFree, CoversTheTrueAccuracyAndSaysWhenItHasDeclined) {
  int covered = 0;
  int declined_without_reason = 0;
  constexpr int kRuns = 20;
  for (int run = 0; run < kRuns; ++run) {
    LabelFree estimate(0.05);
    Answers answers;
    answers.random = Random(100 + static_cast<std::uint64_t>(run));
    for (int i = 0; i < 300; ++i) {  // all labelled: it learns
      answers.next(0.0);
      estimate.observe(answers.id, answers.logprob, i);
      estimate.observe_label(answers.id, answers.right);
    }
    ASSERT_STREQ(estimate.status().state, "running");
    estimate.restart();
    double right = 0.0;
    bool covers = true;
    for (int i = 1; i <= 4'000; ++i) {
      answers.next(0.0);
      right += answers.right;
      estimate.observe(answers.id, answers.logprob, i);
      if (answers.random.chance(0.1)) estimate.observe_label(answers.id, answers.right);
      if (i % 100 != 0) continue;
      const auto status = estimate.status();
      if (!status.estimate) continue;
      covers &= *status.lower <= right / i + 0.02 && *status.upper >= right / i - 0.02;
    }
    covered += covers ? 1 : 0;
    declined_without_reason += estimate.declined() ? 1 : 0;
  }
  EXPECT_GE(covered, kRuns - 1);
  EXPECT_EQ(declined_without_reason, 0);

  LabelFree estimate(0.05);
  Answers answers;
  for (int i = 0; i < 300; ++i) {
    answers.next(0.0);
    estimate.observe(answers.id, answers.logprob, i);
    estimate.observe_label(answers.id, answers.right);
  }
  estimate.restart();
  // The model stays as confident as ever and is wrong far more often.
  for (int i = 0; i < 1'500; ++i) {
    answers.next(-3.0);
    estimate.observe(answers.id, answers.logprob, i);
    EXPECT_FALSE(i < 20 && estimate.declined()) << "no labels yet";
    if (i >= 20 && answers.random.chance(0.3)) estimate.observe_label(answers.id, answers.right);
  }
  const auto status = estimate.status();
  EXPECT_TRUE(status.declined) << *status.upper << " " << status.reference_lower;
  EXPECT_GT(status.unanchored, *status.upper) << "confidence alone would have missed it";

  // Saved and restored, it is the same.
  std::vector<StatePiece> pieces;
  estimate.save(SaveMode::kAll, pieces);
  PieceMap map;
  for (const auto& piece : pieces) map[piece.name] = piece.bytes;
  LabelFree twin(0.05);
  ASSERT_TRUE(twin.restore(map).has_value());
  EXPECT_EQ(twin.status().upper, status.upper);
  answers.next(0.0);
  estimate.observe(answers.id, answers.logprob, 1);
  estimate.observe_label(answers.id, 1.0);
  twin.observe(answers.id, answers.logprob, 1);
  twin.observe_label(answers.id, 1.0);
  EXPECT_EQ(twin.status().upper, estimate.status().upper);
}

VectorRow vector_row(Random& random, double shift) {
  VectorRow row;
  row.scale = 0.01F;
  for (std::size_t k = 0; k < kEmbeddingSize; ++k) {
    const double x = 30.0 * random.normal() + (k < 16 ? shift : 0.0);
    row.q[k] = static_cast<std::int8_t>(std::clamp(x, -127.0, 127.0));
  }
  return row;
}

TEST(EmbeddingShift, TellsTheSameFromTheMoved) {
  Random random(3);
  std::vector<VectorRow> fitted, reference, same, moved;
  for (int i = 0; i < 150; ++i) {
    fitted.push_back(vector_row(random, 0.0));
    reference.push_back(vector_row(random, 0.0));
    same.push_back(vector_row(random, 0.0));
    moved.push_back(vector_row(random, 60.0));
  }
  const auto pointers = [](const std::vector<VectorRow>& rows) {
    std::vector<const VectorRow*> all;
    for (const auto& row : rows) all.push_back(&row);
    return all;
  };
  const auto projections = Projections::fit(pointers(fitted), 1);
  const auto quiet = embedding_shift(pointers(reference), pointers(same), projections);
  const auto loud = embedding_shift(pointers(reference), pointers(moved), projections);
  ASSERT_TRUE(quiet && loud);
  EXPECT_GT(quiet->p_value, 0.01);
  EXPECT_LE(loud->p_value, 0.01);
  EXPECT_GT(loud->mmd2, 3.0 * quiet->mmd2);
  ASSERT_TRUE(quiet->auc && loud->auc);
  EXPECT_LT(*quiet->auc, 0.65);
  EXPECT_GT(*loud->auc, 0.8);
  EXPECT_FALSE(embedding_shift(pointers(reference), {&moved[0]}, projections));
}

TEST(Attribution, WassersteinIsTheAreaBetweenTheSharesOverTheInnerBins) {
  std::vector<double> values;
  for (int i = 0; i < 3'200; ++i) values.push_back(i / 100.0);  // uniform on [0, 32)
  const Reference reference = Reference::from_numbers(values);
  std::vector<std::int64_t> counts(reference.bins(), 0);
  for (int i = 0; i < 3'200; ++i) ++counts[reference.bin_of(values[static_cast<std::size_t>(i)])];
  EXPECT_NEAR(*bin_distances(reference, counts).wasserstein, 0.0, 1e-9);
  std::fill(counts.begin(), counts.end(), 0);
  for (int i = 0; i < 3'200; ++i) {
    ++counts[reference.bin_of(values[static_cast<std::size_t>(i)] + 2.0)];
  }
  EXPECT_NEAR(*bin_distances(reference, counts).wasserstein, 2.0, 0.2);
}

TEST(Report, AnAlarmGoesToJsonAndBack) {
  Alarm alarm;
  alarm.seq = 3;
  alarm.signal = "tokens_in";
  alarm.segment = "all";
  alarm.wasserstein = 1.5;
  alarm.bet = "shift +.5";
  alarm.season = "night";
  alarm.driven_by = "tenant=acme";
  alarm.history = {-3.0F, 0.5F};
  alarm.history_every = 16;
  alarm.signals = {{"tokens_in", "all", 0.5, true}};
  EmbeddingShift shift;
  shift.auc = 0.75;
  alarm.embedding = shift;
  const auto back = alarm_from_json(to_json(alarm));
  ASSERT_TRUE(back.has_value()) << back.error().message;
  EXPECT_EQ(to_json(*back), to_json(alarm));
  const Json json = to_json(alarm);
  EXPECT_NE(json["sentence"].get<std::string>().find("examples"), std::string::npos);
  EXPECT_EQ(json["evidence_over_time"]["log10_ratio"].size(), 2U);
  EXPECT_EQ(json["embedding"]["domain_classifier_auc"], 0.75);
}

}  // namespace
}  // namespace trimtab::drift
