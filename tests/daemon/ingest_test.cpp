// The ingest thread against the embedded broker: bad records stop nothing, a full queue pauses, a
// dead-letter topic that cannot be written holds the offsets back.
#include "daemon/ingest.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"

namespace trimtab::daemon {
namespace {

class IngestTest : public testing::Test {
 protected:
  void SetUp() override {
    auto broker = EmbeddedBroker::start(1);
    ASSERT_TRUE(broker) << broker.error().message;
    broker_ = std::move(*broker);
    KafkaProducerOptions options;
    options.connection.brokers = broker_->bootstrap();
    auto producer = KafkaProducer::open(options);
    ASSERT_TRUE(producer);
    producer_ = std::move(*producer);
    options_.kafka.connection.brokers = broker_->bootstrap();
    options_.kafka.session_timeout_ms = 6'000;
    options_.kafka.batch_wait_ms = 20;
    options_.kafka.batch_records = 50;
    options_.targets = {"bot"};
  }

  void send(const std::string& value) {
    ASSERT_TRUE(producer_->send("trimtab.records", "k", value));
  }
  void send_good(int from, int to) {
    for (int n = from; n < to; ++n)
      send(R"({"id":"r)" + std::to_string(n) + R"(","target":"bot"})");
    ASSERT_TRUE(producer_->flush(10'000));
  }
  void start(std::size_t capacity) {
    queue_ = std::make_unique<BatchQueue>(capacity);
    auto ingest = Ingest::create(options_, book_, *queue_, pool_, clock_, metrics_);
    ASSERT_TRUE(ingest) << ingest.error().message;
    ingest_ = std::move(*ingest);
    ingest_->start();
  }
  bool eventually(const std::function<bool()>& holds, std::int64_t patience_ms = 15'000) {
    const std::int64_t end = clock_.mono_ms() + patience_ms;
    while (!holds()) {
      if (clock_.mono_ms() > end) return false;
      clock_.sleep_ms(10);
    }
    return true;
  }
  // Takes what is queued, as control would; counts the records that are good.
  void drain() {
    while (auto batch = queue_->try_pop()) {
      for (const auto& record : (*batch)->records) {
        good_ += std::holds_alternative<InferenceRecord>(record.value) ? 1 : 0;
      }
      messages_ += static_cast<int>((*batch)->records.size());
      book_.committed((*batch)->ranges);
      pool_.give_back(std::move(*batch));
    }
  }

  std::unique_ptr<EmbeddedBroker> broker_;
  std::unique_ptr<KafkaProducer> producer_;
  Ingest::Options options_;
  OffsetBook book_;
  BatchPool pool_;
  SystemClock clock_;
  Metrics metrics_;
  std::unique_ptr<BatchQueue> queue_;
  std::unique_ptr<Ingest> ingest_;
  int good_ = 0;
  int messages_ = 0;
};

TEST_F(IngestTest, AFullQueuePausesAndNothingIsLost) {
  send_good(0, 1'000);
  start(2);
  ASSERT_TRUE(eventually([&] { return ingest_->status().state == SourceState::kBackpressure; }));
  EXPECT_EQ(queue_->size(), 2U);
  const std::uint64_t turns = ingest_->turns();
  ASSERT_TRUE(eventually([&] { return ingest_->turns() > turns + 3; })) << "polling goes on";
  ASSERT_TRUE(eventually([&] {
    drain();
    return messages_ >= 1'000;
  }));
  EXPECT_EQ(good_, 1'000);
  EXPECT_EQ(messages_, 1'000);
  EXPECT_EQ(book_.next({"trimtab.records", 0}), 1'000);
  EXPECT_TRUE(ingest_->stop(5'000));
}

TEST_F(IngestTest, AnUnwritableDeadLetterTopicHoldsTheOffsetsBack) {
  broker_->set_refused("trimtab.dead-letters", true);
  send_good(0, 10);
  send("{broken");
  send_good(10, 20);
  start(16);
  clock_.sleep_ms(5'000);
  drain();
  EXPECT_LT(messages_, 21);  // the batch with the letter waits
  EXPECT_TRUE(ingest_->failure()) << "waiting is no failure";
  broker_->set_refused("trimtab.dead-letters", false);
  EXPECT_TRUE(eventually(
      [&] {
        drain();
        return messages_ >= 21;
      },
      60'000));
  EXPECT_EQ(good_, 20);
  EXPECT_TRUE(ingest_->stop(5'000));
}

TEST_F(IngestTest, AFloodOfBadRecordsStopsNothing) {
  options_.kafka.dead_letters = config::DeadLetters::kOff;
  options_.kafka.batch_records = 1'000;
  for (int n = 0; n < 20'000; ++n) {
    while (!producer_->send("trimtab.records", "k", n % 2 == 0 ? "{broken" : "\xff\xfe")) {
      clock_.sleep_ms(1);
    }
  }
  ASSERT_TRUE(producer_->flush(20'000));
  send_good(0, 10);
  start(64);
  ASSERT_TRUE(eventually([&] {
    drain();
    return messages_ >= 20'010;
  })) << messages_
      << " of " << producer_->counts().delivered << " delivered, lag "
      << ingest_->status().total_lag() << ", next "
      << book_.next({"trimtab.records", 0}).value_or(-1);
  EXPECT_EQ(good_, 10);
  const std::string exposed = metrics_.expose();
  EXPECT_NE(exposed.find("trimtab_dlq_records_total{reason=\"not_json\"} 10000"),
            std::string::npos);
  EXPECT_NE(exposed.find("trimtab_dlq_records_total{reason=\"not_utf8\"} 10000"),
            std::string::npos);
  EXPECT_TRUE(ingest_->stop(5'000));
}

// ingest.threads: a consumer each in one group, every partition read by exactly one of them.
TEST_F(IngestTest, SeveralConsumersShareThePartitions) {
  ASSERT_TRUE(broker_->create_topic("many", 6));
  options_.kafka.topics.records = options_.kafka.topics.feedback = "many";
  options_.ingest.threads = 3;
  start(256);
  for (int n = 0; n < 3'000; ++n) {
    while (!producer_->send("many", std::to_string(n),
                            R"({"id":"r)" + std::to_string(n) + R"(","target":"bot"})")) {
      clock_.sleep_ms(1);
    }
  }
  ASSERT_TRUE(producer_->flush(10'000));
  ASSERT_TRUE(eventually(
      [&] {
        drain();
        return messages_ >= 3'000;
      },
      40'000));
  EXPECT_EQ(good_, 3'000);
  EXPECT_EQ(messages_, 3'000) << "a partition was read twice";
  const auto status = ingest_->status();
  EXPECT_EQ(status.assigned.size(), 6U);
  EXPECT_EQ(std::set(status.assigned.begin(), status.assigned.end()).size(), 6U);
  EXPECT_EQ(status.state, SourceState::kRunning);
  EXPECT_TRUE(ingest_->failure());
  EXPECT_TRUE(ingest_->stop(5'000));
}

// More consumers than partitions: those without one are no strangers, and no reason to wait.
TEST_F(IngestTest, AConsumerWithoutAPartitionIsIdleNotLost) {
  options_.ingest.threads = 3;
  send_good(0, 500);
  start(64);
  ASSERT_TRUE(eventually(
      [&] {
        drain();
        return messages_ >= 500 && ingest_->status().state == SourceState::kRunning;
      },
      40'000))
      << messages_ << " " << source_state_name(ingest_->status().state);
  EXPECT_EQ(messages_, 500);
  const std::uint64_t turns = ingest_->turns();
  EXPECT_TRUE(eventually([&] { return ingest_->turns() > turns; }));
  EXPECT_TRUE(ingest_->stop(5'000));
}

TEST_F(IngestTest, TheBrokerGoesAwayAndComesBack) {
  send_good(0, 100);
  start(64);
  ASSERT_TRUE(eventually([&] {
    drain();
    return messages_ >= 100;
  }));
  ASSERT_TRUE(broker_->set_down(true));
  clock_.sleep_ms(1'000);
  EXPECT_TRUE(ingest_->failure());
  ASSERT_TRUE(broker_->set_down(false));
  send_good(100, 200);
  EXPECT_TRUE(eventually(
      [&] {
        drain();
        return messages_ >= 200;
      },
      40'000));
  EXPECT_EQ(good_, 200);
}

}  // namespace
}  // namespace trimtab::daemon
