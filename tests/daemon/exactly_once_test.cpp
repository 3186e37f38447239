// Step 1's proof: records from Kafka to SQLite exactly once, across kill -9 at random moments,
// against the embedded broker. (Real Apache Kafka: tests/integration.)
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "tests/daemon/ingest_child.h"

namespace trimtab::daemon {
namespace {

constexpr int kRecords = 40'000;
constexpr int kLives = 12;
constexpr std::uint64_t kSeed = 20261123;

std::string record_json(int n) {
  return R"({"id":"r)" + std::to_string(n) +
         R"(","ts":1760000000000,"target":"bot","input":"hello )" + std::to_string(n) +
         R"(","output":"world"})";
}

TEST(ExactlyOnce, AcrossKillNine) {
  auto broker = EmbeddedBroker::start(8);
  ASSERT_TRUE(broker) << broker.error().message;
  TempFolder folder;
  KafkaProducerOptions options;
  options.connection.brokers = (*broker)->bootstrap();
  auto producer = KafkaProducer::open(options);
  ASSERT_TRUE(producer) << producer.error().message;

  std::uint64_t expected = 0;
  // Every tenth record is sent twice: ids count once.
  std::jthread sender([&] {
    for (int n = 0; n < kRecords; ++n) {
      for (int copy = 0; copy < (n % 10 == 0 ? 2 : 1); ++copy) {
        while (!(*producer)->send("trimtab.records", std::to_string(n), record_json(n))) {
          SystemClock().sleep_ms(5);
        }
      }
      if (n % 100 == 0) SystemClock().sleep_ms(100);
    }
  });
  for (int n = 0; n < kRecords; ++n) expected += id_checksum("r" + std::to_string(n));

  ChildOptions child_options;
  child_options.brokers = (*broker)->bootstrap();
  child_options.state = folder.path();
  const auto status_file = folder.path() / "status";
  Random random(kSeed);
  SystemClock clock;
  Committed seen;
  for (int life = 0; life < kLives; ++life) {
    // The embedded broker keeps a killed member until its session ends; another group is not held
    // up by it. Offsets come from SQLite, so the group's name does not matter.
    child_options.group = "lives-" + std::to_string(life);
    std::filesystem::remove(status_file);
    IngestChild child(child_options);
    const std::int64_t start = clock.mono_ms();
    while (!read_file(status_file).value_or("").starts_with("running")) {
      ASSERT_TRUE(child.running()) << *read_file(folder.path() / "child.log");
      ASSERT_LT(clock.mono_ms() - start, 15'000) << "never ran";
      clock.sleep_ms(5);
    }
    // Every other life is killed right after it committed something, the others anywhere, before
    // their first batch too: a slow machine must not make every life end before it did any work.
    const std::int64_t before = seen.records;
    while (life % 2 == 0 && read_committed_state(folder.path()).records == before &&
           before < kRecords) {
      ASSERT_LT(clock.mono_ms() - start, 30'000) << "nothing committed in life " << life;
      clock.sleep_ms(5);
    }
    clock.sleep_ms(static_cast<std::int64_t>(random.below(250)));
    child.kill();
    seen = read_committed_state(folder.path());
    // Never more than was sent, never a count that disagrees with the rows.
    ASSERT_EQ(seen.counted, seen.records) << "after life " << life;
  }
  EXPECT_GT(seen.records, 0);
  sender.join();
  // A clean run to the end, which also leaves in order.
  child_options.group = "last";
  IngestChild last(child_options);
  const std::int64_t start = clock.mono_ms();
  while (seen.records < kRecords && clock.mono_ms() - start < 60'000) {
    clock.sleep_ms(100);
    seen = read_committed_state(folder.path());
  }
  clock.sleep_ms(500);  // a duplicate would show now
  EXPECT_EQ(last.stop(), 0);
  const Committed after = read_committed_state(folder.path());
  EXPECT_EQ(after.records, kRecords);
  EXPECT_EQ(after.sum, expected);
  std::int64_t offsets = 0;
  for (const auto& [partition, next] : after.offsets) offsets += next;
  EXPECT_EQ(offsets, kRecords + kRecords / 10);
}

}  // namespace
}  // namespace trimtab::daemon

int main(int argc, char** argv) {
  const int child = trimtab::daemon::ingest_child_main(argc, argv);
  if (child >= 0) return child;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
