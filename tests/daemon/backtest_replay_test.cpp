// Past logs through the daemon's own parts: trimtab backtest and trimtab test, as library and as
// programs, from files and from a Kafka range.
#include "daemon/backtest_replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>

#include "config/load.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "daemon/kafka_range.h"
#include "drift/derivation.h"
#include "tests/daemon/past_log_maker.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

struct Ran {
  int code = -1;
  std::string out;  // both streams
};

Ran run_program(const std::string& arguments) {
  const std::string command = (tests::bin_dir() / "trimtab").string() + " " + arguments + " 2>&1";
  Ran ran;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) ran.out += buffer;
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

class BacktestReplayTest : public ::testing::Test {
 protected:
  std::string put(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / name;
    EXPECT_TRUE(write_atomic(path, text));
    return path.string();
  }
  // 2,400 steady records, then 600 with a new topic in half of them.
  void make_logs() {
    PastLogMaker maker;
    steady_ = put("steady.jsonl", maker.lines(2'400, 0.0));
    drifting_ = put("drifting.jsonl", maker.lines(600, 0.5));
    config_ = put("trimtab.yaml", past_config());
  }
  config::Settings settings() {
    const auto loaded = config::load_settings(config_);
    EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
    return loaded.value_or(config::Settings{});
  }
  static ReplayOptions one_promise() {
    ReplayOptions options;
    options.scales.clear();
    return options;
  }
  std::unique_ptr<BacktestReplay> replay(const std::vector<std::string>& files,
                                         const ReplayOptions& options = one_promise()) {
    const auto all = settings();
    auto made = BacktestReplay::create(all, options);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    for (const auto& file : files) {
      auto log = open_past_file(file, 1 << 20);
      EXPECT_TRUE(log.has_value());
      std::vector<std::unique_ptr<PastLog>> logs;
      logs.push_back(std::move(*log));
      const auto ran = (*made)->run(std::move(logs));
      EXPECT_TRUE(ran.has_value()) << ran.error().message;
    }
    EXPECT_TRUE((*made)->finish().has_value());
    return std::move(*made);
  }

  TempFolder folder_{"backtest"};
  std::string steady_, drifting_, config_;
};

TEST_F(BacktestReplayTest, ADriftingLogRaisesDriftAndHarmAndLaunchesARetraining) {
  make_logs();
  const auto ran = replay({steady_, drifting_});
  const auto result = ran->result();
  EXPECT_EQ(ran->counts().accepted, 3'000U);
  EXPECT_EQ(ran->counts().dead, 0U);
  const auto& run = result.configured();
  ASSERT_GE(run.alarms.size(), 2U) << drift::to_table(result);
  const auto& first = run.alarms[0];
  EXPECT_EQ(first.kind, drift::AlarmKind::kDrift);
  EXPECT_GT(first.offset, 2'400U);
  EXPECT_LT(first.offset, 2'500U);
  EXPECT_FALSE(first.words_gained.empty());
  EXPECT_FALSE(first.example_ids.empty());
  EXPECT_GT(first.onset_ts_ms, 0);
  bool harm = false;
  for (const auto& alarm : run.alarms) harm |= alarm.kind == drift::AlarmKind::kHarm;
  EXPECT_TRUE(harm);
  ASSERT_FALSE(run.retrainings.empty());
  EXPECT_GT(run.retrainings[0].offset, 2'400U);
  EXPECT_GE(run.retrainings[0].examples, 30);
  // A log without drift gives no alarm and no retraining.
  const auto quiet = replay({steady_})->result();
  EXPECT_TRUE(quiet.configured().alarms.empty()) << drift::to_table(quiet);
  EXPECT_TRUE(quiet.configured().retrainings.empty());
}

TEST_F(BacktestReplayTest, EveryAlarmIsDerivedAgainFromItsTrail) {
  make_logs();
  const auto result = replay({steady_, drifting_}, ReplayOptions{})->result();
  ASSERT_FALSE(result.configured().alarms.empty());
  for (const auto& run : result.runs) {
    for (const auto& alarm : run.alarms) {
      const auto derived = drift::derive_again_text(drift::trail_text(alarm.trail));
      ASSERT_TRUE(derived.has_value()) << derived.error().message;
      EXPECT_NEAR(derived->evidence, alarm.evidence, 1e-6 * alarm.evidence) << alarm.summary;
      EXPECT_DOUBLE_EQ(derived->threshold, alarm.threshold);
      EXPECT_EQ(derived->delay_events, alarm.delay_events) << alarm.summary;
      EXPECT_GT(derived->events, 0U);
    }
  }
}

TEST_F(BacktestReplayTest, TheSameLogAsTheDaemonsMappingsAndInPiecesGivesTheSame) {
  make_logs();
  const auto whole = replay({steady_, drifting_})->result();
  // Feedback apart from records: merged again by event time.
  std::string records, feedback;
  PastLogMaker maker;
  for (int i = 0; i < 3'000; ++i) {
    for (const Json& line : maker.next(i < 2'400 ? 0.0 : 0.5, 0.05)) {
      (line.contains("kind") ? feedback : records) += dump_json(line) + "\n";
    }
  }
  const auto all = settings();
  auto merged = BacktestReplay::create(all, one_promise());
  ASSERT_TRUE(merged.has_value());
  std::vector<std::unique_ptr<PastLog>> logs;
  logs.push_back(past_text("feedback", feedback, 1, 1 << 20));
  logs.push_back(past_text("records", records, 1, 1 << 20));
  ASSERT_TRUE((*merged)->run(std::move(logs)).has_value());
  ASSERT_TRUE((*merged)->finish().has_value());
  const auto again = (*merged)->result();
  ASSERT_EQ(again.configured().alarms.size(), whole.configured().alarms.size());
  for (std::size_t i = 0; i < again.configured().alarms.size(); ++i) {
    EXPECT_EQ(again.configured().alarms[i].summary, whole.configured().alarms[i].summary);
  }
}

TEST_F(BacktestReplayTest, BadLinesAreNamedAndCountedAndStrictStopsAtTheFirst) {
  make_logs();
  PastLogMaker maker{.seed = 5};
  std::string text = maker.lines(3, 0.0);
  text += "\n";                // blank: passed over
  text += "{\"id\": \"x\"\n";  // not JSON
  text += R"({"id":"y","target":"support-bot"})"
          "\n";  // no ts
  text += maker.lines(2, 0.0);
  const auto file = put("bad.jsonl", text);
  const auto ran = replay({file});
  EXPECT_EQ(ran->counts().accepted, 5U);
  EXPECT_EQ(ran->counts().dead, 2U);
  EXPECT_THAT(ran->counts().dead_lines, Contains(HasSubstr("bad.jsonl:")));
  EXPECT_THAT(ran->counts().dead_lines[1], HasSubstr("bad_time: no ts"));
  const auto strict =
      run_program("backtest --config " + config_ + " --records " + file + " --strict");
  EXPECT_EQ(strict.code, 2) << strict.out;
  EXPECT_THAT(strict.out, HasSubstr("bad.jsonl:"));
  EXPECT_THAT(strict.out, HasSubstr("not_json"));
}

TEST_F(BacktestReplayTest, TheCommandPrintsTableJsonAndPicture) {
  make_logs();
  const auto svg = (folder_.path() / "out.svg").string();
  const std::string base =
      "backtest --config " + config_ + " --records " + steady_ + " --records " + drifting_;
  const auto table = run_program(base + " --svg " + svg);
  EXPECT_EQ(table.code, 0) << table.out;
  EXPECT_THAT(table.out, HasSubstr("RETRAININGS (configured promise)"));
  EXPECT_THAT(table.out, HasSubstr("<- configured"));
  EXPECT_THAT(table.out, HasSubstr("no longer looks like its reference"));
  EXPECT_THAT(table.out, HasSubstr("log wealth"));
  const auto picture = read_file(svg);
  ASSERT_TRUE(picture.has_value());
  EXPECT_THAT(*picture, HasSubstr("<svg"));
  EXPECT_THAT(*picture, HasSubstr("retrain"));
  const auto json = run_program(base + " --json --promises 0.1,5");
  EXPECT_EQ(json.code, 0);
  const auto parsed = parse_json(json.out);
  ASSERT_TRUE(parsed.has_value()) << json.out.substr(0, 400);
  EXPECT_EQ(parsed->at("promises").size(), 3U);
  EXPECT_EQ(parsed->at("input").at("accepted"), 3'000);
  EXPECT_FALSE(parsed->at("promises")[0].at("retrainings").empty());
  EXPECT_GT(parsed->at("promises")[0].at("signals").size(), 5U);
  ASSERT_FALSE(parsed->at("alarms").empty());
  EXPECT_TRUE(parsed->at("alarms")[0].contains("words_gained"));
}

TEST_F(BacktestReplayTest, ErrorsNameTheFileAndLeaveNothingOnStdout) {
  make_logs();
  const auto missing = run_program("backtest --config " + config_ + " --records nowhere.jsonl");
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.out, HasSubstr("nowhere.jsonl: cannot open"));
  const auto empty = put("empty.jsonl", "");
  const auto nothing = run_program("backtest --config " + config_ + " --records " + empty);
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.out, HasSubstr("empty.jsonl:1: the file is empty"));
  const auto other = put("other.yaml", "targets: [{nmae: x}]\n");
  const auto config = run_program("backtest --config " + other + " --records " + steady_);
  EXPECT_EQ(config.code, 2);
  EXPECT_THAT(config.out, HasSubstr("other.yaml:1:"));
  const auto foreign = run_program("backtest --config " + config_ + " --records " + config_);
  EXPECT_EQ(foreign.code, 2);
  EXPECT_THAT(foreign.out, HasSubstr("no record of target 'support-bot'"));
}

TEST(KafkaRangeText, IsReadStrictly) {
  const auto all = parse_kafka_range("kafka:records");
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->topic, "records");
  EXPECT_EQ(all->partition, -1);
  const auto span = parse_kafka_range("kafka:records/3@17..latest");
  ASSERT_TRUE(span.has_value());
  EXPECT_EQ(span->partition, 3);
  EXPECT_EQ(span->from.value, 17);
  EXPECT_EQ(span->to.kind, RangePoint::Kind::kLatest);
  const auto times = parse_kafka_range("kafka:records@2026-01-01T00:00:00Z..2026-01-02T00:00:00Z");
  ASSERT_TRUE(times.has_value());
  EXPECT_EQ(times->to.value - times->from.value, 86'400'000);
  for (const char* bad :
       {"kafka:", "kafka:a@1", "kafka:a@1..2", "kafka:a/x@1..2", "kafka:a@x..y", "kafka:a/-1"}) {
    EXPECT_FALSE(parse_kafka_range(bad).has_value()) << bad;
  }
}

TEST_F(BacktestReplayTest, AKafkaRangeGivesWhatTheFileGives) {
  auto broker = EmbeddedBroker::start(3);
  ASSERT_TRUE(broker.has_value()) << broker.error().message;
  PastLogMaker maker;
  std::vector<std::string> lines;
  for (int i = 0; i < 2'600; ++i) {
    for (const Json& line : maker.next(i < 2'200 ? 0.0 : 0.5, 0.05))
      lines.push_back(dump_json(line));
  }
  KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  auto producer = KafkaProducer::open(options);
  ASSERT_TRUE(producer.has_value());
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto key = json_or<std::string>(*parse_json(lines[i]), "id", "");
    ASSERT_TRUE((*producer)->send("trimtab.records", key, lines[i]));
    text += lines[i] + "\n";
  }
  ASSERT_TRUE((*producer)->flush(30'000).has_value());
  config_ = put("trimtab.yaml", past_config((*broker)->bootstrap()));
  const auto file = put("same.jsonl", text);
  const auto from_file = run_program("backtest --json --config " + config_ + " --records " + file);
  const auto from_kafka =
      run_program("backtest --json --config " + config_ + " --records kafka:trimtab.records");
  EXPECT_EQ(from_kafka.code, 0) << from_kafka.out.substr(0, 500);
  const auto a = parse_json(from_file.out);
  const auto b = parse_json(from_kafka.out);
  ASSERT_TRUE(a.has_value() && b.has_value()) << from_kafka.out.substr(0, 500);
  EXPECT_EQ(b->at("input").at("accepted"), 2'600);
  EXPECT_EQ(a->at("alarms").size(), b->at("alarms").size());
  EXPECT_EQ(a->at("alarms")[0].at("summary"), b->at("alarms")[0].at("summary"));
  const auto nowhere =
      run_program("backtest --config " + config_ + " --records kafka:absent/7@0..5");
  EXPECT_EQ(nowhere.code, 2) << nowhere.out;
}

TEST_F(BacktestReplayTest, TrimtabTestPassesAndFailsWithADiff) {
  make_logs();
  const std::string good =
      "config: trimtab.yaml\n"
      "tests:\n"
      "  - name: steady traffic is quiet\n"
      "    records: steady.jsonl\n"
      "    expect:\n"
      "      - {no_alarm: any}\n"
      "      - {state: armed}\n"
      "      - {accepted: 2400}\n"
      "  - name: a new topic is seen\n"
      "    records: [steady.jsonl, drifting.jsonl]\n"
      "    expect:\n"
      "      - {alarm: drift, after: 2401, before: 2500, count: 1}\n"
      "      - {alarm: harm, after: 2401}\n"
      "      - {no_alarm: any, before: 2400}\n"
      "      - {retraining: any, after: 2401}\n";
  const auto file = put("monitoring.yaml", good);
  const auto passed = run_program("test " + file);
  EXPECT_EQ(passed.code, 0) << passed.out;
  EXPECT_THAT(passed.out, HasSubstr("2 passed, 0 failed"));
  const auto wrong = put("wrong.yaml",
                         "config: trimtab.yaml\n"
                         "drift: {reference_size: 2000}\n"
                         "tests:\n"
                         "  - name: nothing happens\n"
                         "    records: [steady.jsonl, drifting.jsonl]\n"
                         "    expect:\n"
                         "      - {no_alarm: any}\n"
                         "      - {state: refused}\n");
  const auto failed = run_program("test " + wrong);
  EXPECT_EQ(failed.code, 1) << failed.out;
  EXPECT_THAT(failed.out, HasSubstr("wrong.yaml:7:"));
  EXPECT_THAT(failed.out, HasSubstr("- expected: no alarm"));
  EXPECT_THAT(failed.out, HasSubstr("+ got: drift"));
  EXPECT_THAT(failed.out, HasSubstr("of 2000 reference events"));
  EXPECT_THAT(failed.out, HasSubstr("drifting.jsonl:"));
  const auto json = parse_json(run_program("test --json " + wrong).out);
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(json->at("failed"), 1);
}

TEST_F(BacktestReplayTest, TrimtabTestTakesLinesFromTheFileAndRefusesBadFiles) {
  make_logs();
  const auto inline_file =
      put("inline.yaml",
          "config: trimtab.yaml\n"
          "tests:\n"
          "  - name: written out\n"
          "    lines: |\n"
          "      {\"id\":\"a\",\"ts\":\"2026-01-01T00:00:00Z\",\"target\":\"support-bot\"}\n"
          "      {\"id\":\"b\"\n"
          "    expect:\n"
          "      - accepted: 1\n"
          "      - dead_letters: 0\n");
  const auto ran = run_program("test " + inline_file);
  EXPECT_EQ(ran.code, 1) << ran.out;
  EXPECT_THAT(ran.out, HasSubstr("inline.yaml:6: not_json"));
  const auto bad = put("bad.yaml",
                       "config: trimtab.yaml\n"
                       "tests:\n"
                       "  - name: x\n"
                       "    expect:\n"
                       "      - {alarm: drift, state: armed}\n"
                       "      - {alram: drift}\n");
  const auto refused = run_program("test " + bad);
  EXPECT_EQ(refused.code, 2) << refused.out;
  EXPECT_THAT(refused.out, HasSubstr("bad.yaml:6:"));
  EXPECT_THAT(refused.out, Not(HasSubstr("passed")));
}

// A test that tested nothing has not passed.
TEST_F(BacktestReplayTest, TrimtabTestRefusesWhatCannotFail) {
  make_logs();
  put("junk.jsonl", "1\n2\n");
  const auto refused = [&](const std::string& records, const std::string& expect,
                           const std::string& words) {
    const auto file = put("cannot_fail.yaml", "config: trimtab.yaml\n"
                                              "tests:\n"
                                              "  - name: x\n"
                                              "    records: " + records + "\n"
                                              "    expect:\n"
                                              "      - {" + expect + "}\n");
    const auto ran = run_program("test " + file);
    EXPECT_EQ(ran.code, 2) << ran.out;
    EXPECT_THAT(ran.out, HasSubstr(words));
    EXPECT_THAT(ran.out, Not(HasSubstr("PASS")));
  };
  refused("junk.jsonl", "no_alarm: any", "no record was accepted of 2 messages");
  refused("steady.jsonl", "no_alarm: any, signal: nosuch", "cannot_fail.yaml:6: no signal");
  refused("steady.jsonl", "no_alarm: any, segment: nosuch", "cannot_fail.yaml:6: no segment");
  refused("steady.jsonl", "no_alarm: any, after: 99999", "beyond the last record, 2400");
  const auto counted = put("counted.yaml",
                           "config: trimtab.yaml\n"
                           "tests:\n"
                           "  - name: x\n"
                           "    records: junk.jsonl\n"
                           "    expect:\n"
                           "      - {dead_letters: 2}\n"
                           "      - {no_alarm: any, signal: input_chars}\n");
  const auto ran = run_program("test " + counted);
  EXPECT_EQ(ran.code, 0) << ran.out;
}

TEST_F(BacktestReplayTest, AByteOrderMarkCostsNoRecord) {
  make_logs();
  const std::string marked =
      put("marked.jsonl", "\xEF\xBB\xBF" + read_file(steady_).value());
  const auto ran = run_program("backtest --json --config " + config_ + " --records " + marked);
  ASSERT_EQ(ran.code, 0) << ran.out;
  EXPECT_THAT(ran.out, Not(HasSubstr("not_json")));
}

}  // namespace
}  // namespace trimtab::daemon
