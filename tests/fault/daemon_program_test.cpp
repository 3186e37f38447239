// trimtabd as a program under bad luck: taken ports, bad configurations, reloads, a full disk, a
// disk that loses writes, a clock that is set, a broker that goes, a write-ahead log cut short
// (OPERATIONS.md section 5, faults 3, 6, 7, 8, 9, 22, 23). The disk and the clock are the real
// program's own: an LD_PRELOAD library stands before libc (fault_shim.cpp). Over 400 lines because
// all of it starts, watches and ends the same program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <set>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "base/net/server.h"
#include "base/random.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "daemon/state_store.h"
#include "tests/fault/daemon_process.h"
#include "tests/fault/fault_shim.h"
#include "tests/paths.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A preloaded library would stand before the sanitizer's own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

class DaemonProgramTest : public ::testing::Test {
 protected:
  void configure(const std::string& top = "", const std::string& brokers = "127.0.0.1:1") {
    parts_.state = daemon_.state();
    parts_.brokers = brokers;
    parts_.target = "    serving: {driver: file}\n";
    parts_.top = top;
    daemon_.write_config(daemon_config(parts_));
  }
  void start() {
    daemon_.start();
    ASSERT_TRUE(daemon_.wait_started()) << daemon_.log();
  }
  void use_shim() {
    daemon_.environment["LD_PRELOAD"] = (bin_dir().parent_path() / "tests/fault_shim.so").string();
    daemon_.environment["TRIMTAB_SHIM"] = shim_.file();
    daemon_.environment["TRIMTAB_SHIM_DIR"] = daemon_.state();
  }
  // Posts `count` records over HTTP; the status of the last answer.
  int post_records(int count) {
    int status = 0;
    Json records = Json::array();
    for (int i = 0; i < count; ++i) {
      const std::string id = "h" + std::to_string(posted_++);
      records.push_back({{"id", id},
                         {"ts", SystemClock().now_ms()},
                         {"target", "bot"},
                         {"session_id", "s-" + id},
                         {"input", "where is parcel " + id},
                         {"output", "tracking"}});
    }
    (void)daemon_.post("/api/v1/records", records, &status);
    return status;
  }
  std::int64_t accepted() {
    return daemon_.get("/api/v1/status").value("/records/accepted"_json_pointer, std::int64_t{-1});
  }
  std::string paused() { return daemon_.get("/api/v1/status").value("paused", ""); }

  TempFolder folder_{"daemon-faults"};
  DaemonProcess daemon_{folder_.path()};
  Shim shim_{folder_.path() / "shim"};
  ConfigParts parts_;
  int posted_ = 0;
};

// --- 22
TEST_F(DaemonProgramTest, ATakenPortIsExit1OneLineAndAnUntouchedState) {
  SystemClock clock;
  net::Server taken({.name = "taken", .port = 0}, clock);
  ASSERT_TRUE(taken.start());
  const std::string port = std::to_string(taken.port());
  configure();
  const std::string good = daemon_config(parts_);
  for (const char* section : {"http", "metrics"}) {
    std::string text = good;
    const std::string from = std::string(section) + ": {port: 0}";
    text.replace(text.find(from), from.size(), std::string(section) + ": {port: " + port + "}");
    daemon_.write_config(text);
    fs::remove(folder_.path() / "trimtabd.log");
    daemon_.start();
    EXPECT_EQ(daemon_.wait_ended(), 1);
    EXPECT_THAT(daemon_.log(), HasSubstr("127.0.0.1:" + port));
    EXPECT_EQ(daemon_.log_lines(""), 1) << daemon_.log();
    EXPECT_FALSE(fs::exists(daemon_.state() / "trimtab.db"));
  }
}

TEST_F(DaemonProgramTest, AStateThatIsInUseIsExit1) {
  configure();
  start();
  DaemonProcess second(folder_.path() / "second");
  second.write_config(daemon_config(parts_));
  second.start();
  EXPECT_EQ(second.wait_ended(), 1);
  EXPECT_EQ(second.log_lines(""), 1) << second.log();
  EXPECT_THAT(second.log(), HasSubstr("trimtab.db.lock"));
  EXPECT_EQ(post_records(5), 202) << "the first one does not notice";
}

TEST_F(DaemonProgramTest, ABadConfigurationIs78WithALineAnError) {
  configure("log: {level: loud}\nunknown_key: 1\nstore: {rate: 7, segment: 3}\n");
  daemon_.start();
  EXPECT_EQ(daemon_.wait_ended(), 78);
  EXPECT_EQ(daemon_.log_lines("trimtab.yaml:"), 4) << daemon_.log();
  EXPECT_EQ(daemon_.log_lines(""), 4) << daemon_.log();
  daemon_.write_config("state: [\n");
  fs::remove(folder_.path() / "trimtabd.log");
  daemon_.start();
  EXPECT_EQ(daemon_.wait_ended(), 78);
  EXPECT_EQ(daemon_.log_lines(""), 1) << daemon_.log();
}

// --- 23
TEST_F(DaemonProgramTest, ABadReloadAndAHundredHangupsKeepTheOldConfiguration) {
  configure();
  start();
  ASSERT_EQ(post_records(10), 202);
  const std::string hash = daemon_.get("/api/v1/status").value("config_hash", "");
  ASSERT_FALSE(hash.empty());
  const std::string good = daemon_config(parts_);
  daemon_.write_config(good + "nonsense: true\n");
  int status = 0;
  (void)daemon_.post("/-/reload", Json::object(), &status);
  EXPECT_EQ(status, 422);
  for (int i = 0; i < 100; ++i) {
    daemon_.signal(SIGHUP);
    daemon_.clock().sleep_ms(i % 10 == 0 ? 120 : 1);  // some alone, some in a burst
  }
  EXPECT_TRUE(daemon_.eventually([&] { return daemon_.log_lines("was not reloaded") >= 5; }));
  EXPECT_EQ(daemon_.get("/api/v1/status").value("config_hash", ""), hash);
  EXPECT_EQ(
      metric(daemon_.get("/metrics").get<std::string>(), "trimtab_config_last_reload_successful"),
      0.0);
  EXPECT_EQ(post_records(10), 202);
  EXPECT_EQ(daemon_.get("/api/v1/routing?target=bot").value("generation", 0), 1);
  // A hundred good ones change nothing either, and the last one counts.
  daemon_.write_config(good + "log: {level: warning}\n");
  for (int i = 0; i < 100; ++i) daemon_.signal(SIGHUP);
  EXPECT_TRUE(daemon_.eventually(
      [&] { return daemon_.get("/api/v1/status").value("config_hash", hash) != hash; }));
  EXPECT_EQ(post_records(10), 202);
  EXPECT_TRUE(daemon_.eventually([&] { return accepted() == 30; })) << accepted();
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0);
}

// --- 7
TEST_F(DaemonProgramTest, AFullDiskPausesAlertsAndResumes) {
  if (kSanitized) GTEST_SKIP() << "no preloaded library under a sanitizer";
  auto broker = daemon::EmbeddedBroker::start(2);
  ASSERT_TRUE(broker);
  configure("", (*broker)->bootstrap());
  use_shim();
  start();
  daemon::KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  auto producer = daemon::KafkaProducer::open(options);
  ASSERT_TRUE(producer);
  const auto send = [&](int from, int to) {
    for (int n = from; n < to; ++n) {
      ASSERT_TRUE((*producer)->send("trimtab.records", std::to_string(n),
                                    R"({"id":"k)" + std::to_string(n) +
                                        R"(","target":"bot","session_id":"s)" + std::to_string(n) +
                                        R"(","input":"a","output":"b"})"));
    }
    ASSERT_TRUE((*producer)->flush(10'000));
  };
  send(0, 500);
  ASSERT_TRUE(daemon_.eventually([&] { return accepted() == 500; })) << daemon_.log();
  shim_->disk_full = 1;
  send(500, 1'000);
  const auto says_so = [&] { return paused().find("cannot be written") != std::string::npos; };
  ASSERT_TRUE(daemon_.eventually(says_so)) << daemon_.log();
  EXPECT_EQ(daemon_.status_of("/readyz"), 503);
  EXPECT_EQ(daemon_.status_of("/healthz"), 200) << "a full disk is no reason to be restarted";
  const auto page = daemon_.get("/metrics").get<std::string>();
  EXPECT_EQ(metric(page, "trimtab_paused{reason=\"state\"}"), 1.0) << page;
  EXPECT_EQ(post_records(1), 503) << "not committed: not promised";
  EXPECT_LT(daemon_.log_lines("cannot be written") + daemon_.log_lines("was not committed"), 60);
  shim_->disk_full = 0;
  EXPECT_TRUE(daemon_.eventually([&] { return accepted() == 1'000 && paused().empty(); }))
      << accepted() << " " << paused() << "\n"
      << daemon_.log();
  const auto after = daemon_.get("/metrics").get<std::string>();
  EXPECT_EQ(metric(after, "trimtab_paused{reason=\"state\"}"), 0.0);
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0);
  auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
  ASSERT_TRUE(state);
  const auto rows = (*state)->records({.target = "bot", .limit = 10'000});
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->size(), 1'000U);
}

TEST_F(DaemonProgramTest, TooLittleRoomLeftPausesBeforeItIsTooLate) {
  configure();
  parts_.top = "";
  std::string text = daemon_config(parts_);
  const std::string from = "min_free: 1MiB";
  const std::string good = text;
  text.replace(text.find(from), from.size(), "min_free: 900TiB");
  daemon_.write_config(text);
  start();
  EXPECT_TRUE(daemon_.eventually([&] { return paused().find("disk") != std::string::npos; }));
  EXPECT_EQ(metric(daemon_.get("/metrics").get<std::string>(), "trimtab_paused{reason=\"disk\"}"),
            1.0);
  EXPECT_EQ(daemon_.status_of("/readyz"), 503);
  daemon_.write_config(good);
  daemon_.signal(SIGHUP);
  EXPECT_TRUE(daemon_.eventually([&] { return paused().empty(); })) << paused();
}

// --- 8
TEST_F(DaemonProgramTest, AFailedFsyncAbortsAndNothingCommittedIsLost) {
  if (kSanitized) GTEST_SKIP() << "no preloaded library under a sanitizer";
  configure();
  use_shim();
  start();
  ASSERT_EQ(post_records(50), 202);
  shim_->sync_fails = 1;
  (void)post_records(50);
  EXPECT_EQ(daemon_.wait_ended(), 128 + SIGABRT);
  EXPECT_THAT(daemon_.log(), HasSubstr("fsync"));
  EXPECT_EQ(shim_->refused.load(), 1) << "tried once, never again";
  shim_->sync_fails = 0;
  start();
  auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
  ASSERT_TRUE(state);
  const auto rows = (*state)->records({.target = "bot", .limit = 10'000});
  ASSERT_TRUE(rows);
  EXPECT_GE(rows->size(), 50U);
  EXPECT_EQ(post_records(50), 202);
}

// --- 9
TEST_F(DaemonProgramTest, TheWallClockIsSetAnHourForthAndTwoBack) {
  if (kSanitized) GTEST_SKIP() << "no preloaded library under a sanitizer";
  configure();
  use_shim();
  start();
  const auto now_ms = [&] {
    return parse_rfc3339(daemon_.get("/api/v1/status").value("now", "")).value_or(0);
  };
  const auto snapshot_ms = [&] {
    return daemon_.get("/api/v1/status").value("snapshot_ms", std::int64_t{0});
  };
  ASSERT_EQ(post_records(20), 202);
  const std::int64_t start_ms = now_ms(), began_ms = daemon_.clock().mono_ms();
  for (const std::int64_t offset_s : {3'600, -3'600}) {
    shim_->clock_offset_s = offset_s;
    ASSERT_EQ(post_records(20), 202);  // clients' clocks are right
    const std::int64_t seen_ms = snapshot_ms();
    EXPECT_TRUE(daemon_.eventually([&] { return snapshot_ms() > seen_ms; }))
        << "the loop's timers stand still";
    const std::int64_t real_ms = daemon_.clock().mono_ms() - began_ms;
    EXPECT_NEAR(static_cast<double>(now_ms() - start_ms), static_cast<double>(real_ms),
                0.1 * static_cast<double>(real_ms) + 1'000)
        << "after a jump by " << offset_s << " s";
  }
  EXPECT_GE(daemon_.log_lines("wall clock was set"), 1) << daemon_.log();
  EXPECT_TRUE(daemon_.eventually([&] { return accepted() == 60; }));
  auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
  ASSERT_TRUE(state);
  const auto rows = (*state)->records({.target = "bot", .limit = 100});
  ASSERT_TRUE(rows);
  for (const auto& row : *rows) {
    EXPECT_NEAR(static_cast<double>(row.ts_ms), static_cast<double>(start_ms), 60'000);
  }
  // A restart under the clock that is an hour behind: what was saved lies in its future.
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0);
  start();
  EXPECT_EQ(post_records(5), 202);
}

// --- 3: a broker that is away for a while, with the whole daemon
TEST_F(DaemonProgramTest, TheBrokerIsAwayAndComesBack) {
  auto broker = daemon::EmbeddedBroker::start(4);
  ASSERT_TRUE(broker);
  configure("", (*broker)->bootstrap());
  start();
  daemon::KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  auto producer = daemon::KafkaProducer::open(options);
  ASSERT_TRUE(producer);
  const auto send = [&](int from, int to) {
    for (int n = from; n < to; ++n) {
      ASSERT_TRUE((*producer)->send("trimtab.records", std::to_string(n),
                                    R"({"id":"k)" + std::to_string(n) + R"(","target":"bot"})"));
    }
  };
  send(0, 300);
  ASSERT_TRUE(daemon_.eventually([&] { return accepted() == 300; })) << daemon_.log();
  ASSERT_TRUE((*broker)->set_down(true));
  daemon_.clock().sleep_ms(5'000);
  EXPECT_EQ(daemon_.status_of("/healthz"), 200) << "liveness ignores Kafka";
  EXPECT_EQ(post_records(10), 202) << "the other door stays open";
  ASSERT_TRUE((*broker)->set_down(false));
  send(300, 600);
  EXPECT_TRUE(daemon_.eventually([&] { return accepted() == 610; }, 60'000)) << accepted() << "\n"
                                                                             << daemon_.log();
}

// --- 10, 11, 13: a flood of garbage and every kind of bad record. TRIMTAB_BAD_RECORDS=1000000 for
// the full flood (`./dev bench memory --bad 100` samples the memory over it).
TEST_F(DaemonProgramTest, GarbageIsDeadLetteredCountedAndCostsNoMemory) {
  const char* wanted = std::getenv("TRIMTAB_BAD_RECORDS");
  const int flood = wanted == nullptr ? 30'000 : std::atoi(wanted);
  auto broker = daemon::EmbeddedBroker::start(8);
  ASSERT_TRUE(broker);
  configure("", (*broker)->bootstrap());
  start();
  daemon::KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  options.max_message_bytes = 100'000'000;
  options.compression = "none";
  auto producer = daemon::KafkaProducer::open(options);
  ASSERT_TRUE(producer);
  int sent = 0;
  const auto send = [&](const std::string& value) {
    while (!(*producer)->send("trimtab.records", std::to_string(sent), value)) {
      daemon_.clock().sleep_ms(5);
    }
    ++sent;
  };
  const auto dead = [&] {
    double sum = 0;
    const auto page = daemon_.get("/metrics").get<std::string>();
    for (const char* reason : {"not_json", "not_utf8", "too_large", "too_deep", "missing_id",
                               "bad_time", "non_finite", "unknown_target", "bad_type"}) {
      sum += metric(page, std::string("trimtab_dlq_records_total{reason=\"") + reason + "\"}")
                 .value_or(0);
    }
    return static_cast<int>(sum);
  };
  const auto flood_to = [&](int until) {
    while (sent < until) {
      send(sent % 2 == 0 ? "{\"id\": " + std::to_string(sent) : "\xff\xfe not text");
      while (sent % 1'000 == 0 && sent - dead() > 20'000) daemon_.clock().sleep_ms(20);
    }
    return daemon_.eventually([&] { return dead() == sent; }, 300'000);
  };
  ASSERT_TRUE(flood_to(flood / 3)) << dead() << " of " << sent << "\n" << daemon_.log();
  const double before_mb = static_cast<double>(daemon_.rss_bytes()) / 1e6;
  ASSERT_TRUE(flood_to(flood)) << dead() << " of " << sent << "\n" << daemon_.log();
  const double after_mb = static_cast<double>(daemon_.rss_bytes()) / 1e6;
  EXPECT_LT(after_mb, before_mb * 1.05 + 4) << "memory grows with garbage";
  EXPECT_LT(daemon_.log_lines("dead letter"), 300) << "30 a minute";

  const std::string deep(100'000, '[');
  const std::string now = std::to_string(daemon_.clock().now_ms());
  for (const auto& bad : std::vector<std::string>{
           std::string(4'000'000, 'x'), deep + std::string(100'000, ']'),
           std::string("{\"id\":\"a\0b\",\"target\":\"bot\"}", 27),
           "{\"id\":\"\xed\xa0\x80\",\"target\":\"bot\"}",
           R"({"id":"nan","target":"bot","latency_s":NaN})", R"({"target":"bot"})",
           R"({"id":"x","target":"nobody"})", R"({"id":"t","target":"bot","ts":"yesterday"})"}) {
    send(bad);
  }
  ASSERT_TRUE(daemon_.eventually([&] { return dead() == sent; }, 60'000))
      << dead() << " of " << sent << "\n"
      << daemon_.log();
  // Times that cannot be: taken, counted, and the watermark stays sane (live units would close).
  send(R"({"id":"future","target":"bot","ts":32503680000000})");
  send(R"({"id":"ancient","target":"bot","ts":1000000000000})");
  send(R"({"id":"now","target":"bot","ts":)" + now + "}");
  ASSERT_TRUE(daemon_.eventually([&] { return accepted() == 3; })) << daemon_.log();
  const auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
  ASSERT_TRUE(state);
  const auto rows = (*state)->records({.target = "bot", .limit = 10});
  ASSERT_TRUE(rows);
  for (const auto& row : *rows) {
    EXPECT_LE(row.ts_ms, daemon_.clock().now_ms() + 300'000) << row.id;
    if (row.id == "ancient") {
      EXPECT_EQ(row.ts_ms, 1'000'000'000'000);
    }
  }
  EXPECT_EQ(post_records(3), 202);
  int status = 0;
  (void)daemon_.post("/api/v1/records", Json(std::string(20'000'000, 'x')), &status);
  EXPECT_NE(status, 202) << "413, or the connection is closed while the client still sends";
  EXPECT_EQ(daemon_.status_of("/healthz"), 200);
}

// --- 6: whatever the write-ahead log lost, state and offsets agree and the rest is read again
TEST_F(DaemonProgramTest, ATruncatedWriteAheadLogLosesNoRecordAndCountsNoneTwice) {
  auto broker = daemon::EmbeddedBroker::start(4);
  ASSERT_TRUE(broker);
  daemon::KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  auto producer = daemon::KafkaProducer::open(options);
  ASSERT_TRUE(producer);
  constexpr int kRecords = 3'000;
  constexpr std::uint64_t kSeed = 20261125;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  int sent = 0;
  for (int life = 0; life < 6; ++life) {
    parts_.group = "wal-" + std::to_string(life);  // a killed member holds its group up
    configure("", (*broker)->bootstrap());
    start();
    for (; sent < kRecords * (life + 1) / 6; ++sent) {
      ASSERT_TRUE((*producer)->send("trimtab.records", std::to_string(sent),
                                    R"({"id":"k)" + std::to_string(sent) +
                                        R"(","target":"bot","session_id":"s","input":"a"})"));
    }
    ASSERT_TRUE((*producer)->flush(10'000));
    ASSERT_TRUE(daemon_.eventually([&] {
      return daemon_.get("/api/v1/status").value("/store/bytes"_json_pointer, 0) > 0 &&
             accepted() > 0;
    })) << daemon_.log();
    daemon_.clock().sleep_ms(static_cast<std::int64_t>(random.below(1'500)));
    daemon_.kill();
    const fs::path wal = daemon_.state() / "trimtab.db-wal";
    const auto size = static_cast<std::uint64_t>(fs::file_size(wal));
    fs::resize_file(wal, random.below(size + 1));
    fs::remove(daemon_.state() / "trimtab.db-shm");
    // A torn block behind what was committed, as a power cut leaves it.
    std::ofstream segment(daemon_.state() / "records/seg-00000001.zst",
                          std::ios::binary | std::ios::app);
    segment << "half a block";
  }
  parts_.group = "wal-last";
  configure("", (*broker)->bootstrap());
  start();
  const auto stored = [&] {
    std::set<std::string> ids;
    const auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
    if (!state) return ids;
    const auto rows = (*state)->records({.target = "bot", .limit = 2 * kRecords});
    for (const auto& row : *rows) ids.insert(row.id);
    EXPECT_EQ(ids.size(), rows->size());
    return ids;
  };
  EXPECT_TRUE(daemon_.eventually([&] { return stored().size() == kRecords; }, 60'000))
      << stored().size() << "\n"
      << daemon_.log();
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0);
  const auto state = daemon::StateReader::open(daemon_.state() / "trimtab.db");
  std::int64_t offsets = 0;
  const auto book = (*state)->offsets();
  for (const auto& [where, next] : *book) offsets += next;
  EXPECT_EQ(offsets, kRecords);
}

// A segment that is shorter than what was committed is no torn tail: somebody must look.
TEST_F(DaemonProgramTest, ASegmentThatLostCommittedBytesIsNamed) {
  configure();
  start();
  ASSERT_EQ(post_records(50), 202);
  daemon_.kill();
  const fs::path segment = daemon_.state() / "records/seg-00000001.zst";
  fs::resize_file(segment, fs::file_size(segment) - 10);
  daemon_.start();
  EXPECT_EQ(daemon_.wait_ended(), 1);
  EXPECT_THAT(daemon_.log(), HasSubstr("seg-00000001.zst"));
  EXPECT_THAT(daemon_.log(), HasSubstr("restore it from a copy"));
}

}  // namespace
}  // namespace trimtab::tests
