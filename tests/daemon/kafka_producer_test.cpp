// The producer against the embedded broker: nothing lost, nothing waits, everything counted.
#include "daemon/kafka_producer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/files.h"
#include "daemon/embedded_broker.h"
#include "tests/daemon/kafka_reader.h"

namespace trimtab::daemon {
namespace {

class KafkaProducerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto broker = EmbeddedBroker::start(2);
    ASSERT_TRUE(broker) << broker.error().message;
    broker_ = std::move(*broker);
    options_.connection.brokers = broker_->bootstrap();
  }
  std::unique_ptr<KafkaProducer> open() {
    auto producer = KafkaProducer::open(options_);
    EXPECT_TRUE(producer) << producer.error().message;
    return std::move(*producer);
  }
  std::unique_ptr<EmbeddedBroker> broker_;
  KafkaProducerOptions options_;
};

TEST_F(KafkaProducerTest, DeliversEverythingAndReportsIt) {
  const auto producer = open();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(producer->send("trimtab.records", "k" + std::to_string(i), "v" + std::to_string(i),
                               {{"name", "value"}}));
  }
  const auto flushed = producer->flush(10'000);
  ASSERT_TRUE(flushed) << flushed.error().message;
  const auto counts = producer->counts();
  EXPECT_EQ(counts.accepted, 1000U);
  EXPECT_EQ(counts.delivered, 1000U);
  EXPECT_EQ(counts.dropped + counts.failed, 0U);
  EXPECT_EQ(read_topic(broker_->bootstrap(), "trimtab.records", 1000).size(), 1000U);
}

TEST_F(KafkaProducerTest, AFullQueueSaysNoAtOnce) {
  ASSERT_TRUE(broker_->set_down(true));
  options_.queue_messages = 100;
  const auto producer = open();
  SystemClock clock;
  const auto before = clock.mono_ms();
  int accepted = 0;
  for (int i = 0; i < 1000; ++i) accepted += producer->send("trimtab.records", "k", "v") ? 1 : 0;
  EXPECT_LT(clock.mono_ms() - before, 1000);
  EXPECT_EQ(accepted, 100);
  EXPECT_EQ(producer->counts().dropped, 900U);
  EXPECT_FALSE(producer->flush(100));
  ASSERT_TRUE(broker_->set_down(false));
  const auto flushed = producer->flush(20'000);
  ASSERT_TRUE(flushed) << flushed.error().message;
  EXPECT_EQ(producer->counts().delivered, 100U);
}

TEST_F(KafkaProducerTest, WhatIsTooLargeIsDroppedAndCounted) {
  const auto producer = open();
  EXPECT_FALSE(producer->send("trimtab.records", "k", std::string(8 << 20, 'x')));
  EXPECT_EQ(producer->counts().dropped, 1U);
}

TEST_F(KafkaProducerTest, UndeliverableMessagesFailAfterTheirTime) {
  options_.delivery_ms = 300;
  options_.linger_ms = 0;
  ASSERT_TRUE(broker_->set_down(true));
  const auto producer = open();
  ASSERT_TRUE(producer->send("trimtab.records", "k", "v"));
  static_cast<void>(producer->flush(10'000));
  EXPECT_EQ(producer->counts().failed, 1U);
  EXPECT_FALSE(producer->last_error().empty());
}

TEST_F(KafkaProducerTest, PropertiesPassThroughAndBadOnesAreNamed) {
  options_.connection.properties = {{"linger.ms", "5"}, {"acks", "all"}};
  EXPECT_TRUE(KafkaProducer::open(options_));
  options_.connection.properties = {{"no.such", "1"}};
  const auto unknown = KafkaProducer::open(options_);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kInvalid);
  EXPECT_THAT(unknown.error().message, ::testing::HasSubstr("no.such"));
  options_.connection.properties.clear();
  options_.connection.property_files = {{"sasl.password", "/no/such/file"}};
  const auto missing = KafkaProducer::open(options_);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, ::testing::HasSubstr("sasl.password"));
}

}  // namespace
}  // namespace trimtab::daemon
