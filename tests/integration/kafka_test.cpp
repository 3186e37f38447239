// The ingest path against a real Apache Kafka. Skips, saying so, where Maven Central is out of
// reach.
#include <gtest/gtest.h>

#include <functional>

#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "tests/daemon/ingest_child.h"
#include "tests/integration/kafka_fixture.h"

namespace trimtab::daemon {
namespace {

using testing_kafka::KafkaFixture;

std::vector<std::string> records(int from, int to) {
  std::vector<std::string> made;
  for (int n = from; n < to; ++n) {
    made.push_back(R"({"id":"r)" + std::to_string(n) +
                   R"(","ts":1760000000000,"target":"bot","input":"hello"})");
  }
  return made;
}

class KafkaTest : public testing::Test {
 protected:
  void SetUp() override {
    auto fixture = KafkaFixture::shared();
    if (!fixture) GTEST_SKIP() << "no real Kafka: " << fixture.error().message;
    kafka_ = *fixture;
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    options_.topic = "t-" + name;
    options_.group = "g-" + name;
    options_.instance = "i-" + name;
    options_.brokers = kafka_->bootstrap();
    options_.state = folder_.path();
  }

  bool eventually(const std::function<bool()>& holds, std::int64_t patience_ms = 20'000) {
    const std::int64_t end = clock_.mono_ms() + patience_ms;
    while (clock_.mono_ms() < end) {
      if (holds()) return true;
      clock_.sleep_ms(50);
    }
    return holds();
  }
  Committed committed() { return read_committed_state(options_.state); }
  bool has_records(std::int64_t count) {
    return eventually([&] { return committed().records >= count; });
  }
  std::string status() { return read_file(options_.state / "status").value_or(""); }
  std::string child_log() { return log_of(options_); }
  static std::string log_of(const ChildOptions& options) {
    return read_file(options.state / "child.log").value_or("");
  }

  KafkaFixture* kafka_ = nullptr;
  TempFolder folder_;
  ChildOptions options_;
  SystemClock clock_;
};

TEST_F(KafkaTest, ResumesByTheOffsetsInSqliteAcrossKillNine) {
  kafka_->create_topic(options_.topic, 4);
  Random random(7);
  int sent = 0;
  for (int life = 0; life < 5; ++life) {
    IngestChild child(options_);
    kafka_->produce(options_.topic, records(sent, sent + 1'500), "lz4");
    sent += 1'500;
    ASSERT_TRUE(eventually([&] { return committed().records > sent - 1'500; })) << child_log();
    clock_.sleep_ms(static_cast<std::int64_t>(random.below(100)));
    child.kill();
    const Committed now = committed();
    ASSERT_EQ(now.counted, now.records);
  }
  IngestChild child(options_);
  ASSERT_TRUE(has_records(sent)) << child_log();
  clock_.sleep_ms(300);
  EXPECT_EQ(child.stop(), 0);
  const Committed now = committed();
  EXPECT_EQ(now.records, sent);
  EXPECT_EQ(now.counted, sent);
  std::uint64_t sum = 0;
  std::int64_t offsets = 0;
  for (int n = 0; n < sent; ++n) sum += id_checksum("r" + std::to_string(n));
  for (const auto& [partition, next] : now.offsets) offsets += next;
  EXPECT_EQ(now.sum, sum);
  EXPECT_EQ(offsets, sent);
}

TEST_F(KafkaTest, AForeignMemberPausesUsUntilItLeaves) {
  kafka_->create_topic(options_.topic, 4);
  kafka_->produce(options_.topic, records(0, 500));
  IngestChild child(options_);
  ASSERT_TRUE(has_records(500)) << child_log();
  {
    KafkaFixture::Foreign foreign(kafka_->bootstrap(), options_.group, options_.topic);
    ASSERT_TRUE(eventually([&] { return status().starts_with("foreign_member"); })) << status();
    EXPECT_NE(status().find("somebody-else"), std::string::npos) << status();
    kafka_->produce(options_.topic, records(500, 1'000));
    clock_.sleep_ms(2'000);
    EXPECT_EQ(committed().records, 500);
  }
  ASSERT_TRUE(has_records(1'000)) << status() << child_log();
  EXPECT_TRUE(eventually([&] { return status().starts_with("running"); })) << status();
  EXPECT_EQ(child.stop(), 0);
  EXPECT_EQ(committed().records, 1'000);
}

TEST_F(KafkaTest, TheBrokerIsKilledAndRestartedMidStream) {
  kafka_->create_topic(options_.topic, 2);
  kafka_->produce(options_.topic, records(0, 2'000));
  IngestChild child(options_);
  ASSERT_TRUE(eventually([&] { return committed().records > 0; })) << child_log();
  kafka_->kill();
  clock_.sleep_ms(1'500);
  ASSERT_TRUE(child.running()) << child_log();
  kafka_->start();
  kafka_->produce(options_.topic, records(2'000, 4'000));
  ASSERT_TRUE(eventually([&] { return committed().records >= 4'000; }, 60'000))
      << status() << child_log();
  EXPECT_EQ(child.stop(), 0);
  EXPECT_EQ(committed().records, 4'000);
  EXPECT_EQ(committed().counted, 4'000);
}

TEST_F(KafkaTest, AnOffsetThatIsGoneStopsUntilSomebodyDecides) {
  kafka_->create_topic(options_.topic, 1);
  kafka_->produce(options_.topic, records(0, 300));
  {
    IngestChild child(options_);
    ASSERT_TRUE(has_records(300)) << child_log();
    EXPECT_EQ(child.stop(), 0);
  }
  kafka_->produce(options_.topic, records(300, 600));
  kafka_->delete_records(options_.topic, 0, 450);
  IngestChild child(options_);
  ASSERT_TRUE(eventually([&] { return status().starts_with("offset_gone"); })) << status();
  EXPECT_NE(status().find("no offset 300"), std::string::npos) << status();
  EXPECT_NE(status().find("450..600"), std::string::npos) << status();
  EXPECT_NE(status().find("offsets reset --to"), std::string::npos);
  clock_.sleep_ms(500);
  EXPECT_EQ(committed().records, 300);  // never a silent jump
  ASSERT_TRUE(write_atomic(options_.state / "reset", "450"));
  ASSERT_TRUE(has_records(450)) << status() << child_log();
  EXPECT_EQ(child.stop(), 0);
  EXPECT_EQ(committed().records, 450);
  EXPECT_EQ(committed().offsets[0], 600);
}

TEST_F(KafkaTest, DeadLettersCarryTheirHeadersAndStopNothing) {
  kafka_->create_topic(options_.topic, 1);
  kafka_->create_topic("trimtab.dead-letters", 1);
  auto values = records(0, 10);
  values.insert(values.begin() + 3, "{broken");
  values.insert(values.begin() + 5, R"({"id":"x","target":"nobody"})");
  values.insert(values.begin() + 6, std::string("{\"id\":\"\xff\xfe\",\"target\":\"bot\"}"));
  values.push_back(std::string(2 << 20, ' '));  // larger than max_record_bytes
  options_.properties["fetch.message.max.bytes"] = "8000000";
  // Kafka's own limit is 1 MiB a batch; the large one travels compressed.
  kafka_->produce(options_.topic, {values.begin(), values.end() - 1}, "none", 0);
  IngestChild child(options_);
  ASSERT_TRUE(has_records(10)) << child_log();
  const auto letters = kafka_->read("trimtab.dead-letters", 3);
  ASSERT_EQ(letters.size(), 3U);
  EXPECT_EQ(letters[0].value, "{broken");
  EXPECT_EQ(letters[0].key, "k3");
  EXPECT_EQ(letters[0].headers.at("__connect.errors.exception.class.name"), "not_json");
  EXPECT_EQ(letters[0].headers.at("__connect.errors.topic"), options_.topic);
  EXPECT_EQ(letters[0].headers.at("__connect.errors.partition"), "0");
  EXPECT_EQ(letters[0].headers.at("__connect.errors.offset"), "3");
  EXPECT_EQ(letters[0].headers.at("__connect.errors.stage"), "decode");
  EXPECT_FALSE(letters[0].headers.at("__connect.errors.exception.message").empty());
  EXPECT_FALSE(letters[0].headers.at("__connect.errors.timestamp").empty());
  EXPECT_EQ(letters[1].headers.at("__connect.errors.exception.class.name"), "unknown_target");
  EXPECT_EQ(letters[1].headers.at("__connect.errors.stage"), "route");
  EXPECT_EQ(letters[2].headers.at("__connect.errors.exception.class.name"), "not_utf8");
  EXPECT_EQ(letters[2].value, std::string("{\"id\":\"\xff\xfe\",\"target\":\"bot\"}"));
  EXPECT_TRUE(eventually([&] { return committed().offsets[0] == 13; }));
  EXPECT_EQ(child.stop(), 0);
}

// OPERATIONS.md section 5, fault 11. The dead-letter topic takes 1 MiB: the letter is cut.
TEST_F(KafkaTest, ARecordOfFiftyMegabytesStopsNothing) {
  constexpr std::size_t kHuge = 50'000'000;
  kafka_->create_topic(options_.topic, 1, {{"max.message.bytes", "60000000"}});
  kafka_->create_topic("letters-small", 1);
  options_.dead_letters = "letters-small";
  auto values = records(0, 10);
  std::string noise;  // that no codec makes small
  Random random(5);
  while (noise.size() < kHuge) noise += static_cast<char>('0' + random.below(64));
  std::erase(noise, '\\');
  values.insert(values.begin() + 4,
                R"({"id":"huge","target":"bot","input":")" + noise + R"("})");
  kafka_->produce(options_.topic, values, "none", 0);
  IngestChild child(options_);
  ASSERT_TRUE(eventually([&] { return committed().records >= 10; }, 60'000)) << child_log();
  EXPECT_TRUE(eventually([&] { return committed().offsets[0] == 11; }));
  const auto letters = kafka_->read("letters-small", 1);
  ASSERT_EQ(letters.size(), 1U);
  EXPECT_EQ(letters[0].headers.at("__connect.errors.exception.class.name"), "too_large");
  EXPECT_EQ(letters[0].headers.at("trimtab.original.bytes"), std::to_string(values[4].size()));
  EXPECT_GT(letters[0].value.size(), 900'000U);
  EXPECT_EQ(letters[0].value, values[4].substr(0, letters[0].value.size()));
  EXPECT_EQ(child.stop(), 0);
}

TEST_F(KafkaTest, EveryCodecIsRead) {
  kafka_->create_topic(options_.topic, 2);
  IngestChild child(options_);
  int sent = 0;
  for (const std::string codec : {"none", "gzip", "snappy", "lz4", "zstd"}) {
    kafka_->produce(options_.topic, records(sent, sent + 200), codec);
    sent += 200;
    ASSERT_TRUE(has_records(sent)) << codec << child_log();
  }
  EXPECT_EQ(child.stop(), 0);
}

TEST_F(KafkaTest, AnAbortedTransactionWasNeverSaid) {
  kafka_->create_topic(options_.topic, 1);
  kafka_->produce_transaction(options_.topic, records(0, 100), true);
  kafka_->produce_transaction(options_.topic, records(100, 200), false);
  kafka_->produce_transaction(options_.topic, records(200, 300), true);
  {
    IngestChild child(options_);
    ASSERT_TRUE(has_records(200)) << child_log();
    clock_.sleep_ms(300);
    EXPECT_EQ(child.stop(), 0);
  }
  EXPECT_EQ(committed().records, 200);
  // The markers at the end are no lag that holds a restart up.
  IngestChild child(options_);
  kafka_->produce_transaction(options_.topic, records(300, 310), true);
  ASSERT_TRUE(has_records(210)) << child_log();
  EXPECT_EQ(child.stop(), 0);
}

TEST_F(KafkaTest, OfTwoInstancesWithOneNameTheFencedOneExits) {
  kafka_->create_topic(options_.topic, 1);
  kafka_->produce(options_.topic, records(0, 10));
  IngestChild first(options_);
  ASSERT_TRUE(has_records(10)) << child_log();
  TempFolder other;
  ChildOptions twin = options_;
  twin.state = other.path();
  IngestChild second(twin);
  ASSERT_TRUE(eventually([&] { return !first.running(); }, 30'000)) << status();
  EXPECT_EQ(first.wait(), 1);
  EXPECT_NE(child_log().find("fenced"), std::string::npos) << child_log();
  EXPECT_TRUE(second.running());
  EXPECT_EQ(second.stop(), 0) << log_of(twin);
}

}  // namespace
}  // namespace trimtab::daemon

int main(int argc, char** argv) {
  const int child = trimtab::daemon::ingest_child_main(argc, argv);
  if (child >= 0) return child;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
