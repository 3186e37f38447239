// A stop waited ten seconds for batches that nobody would commit any more (the queue is closed by
// then), missed its deadline, and left the group by its time-out.
#include <gtest/gtest.h>

#include "daemon/embedded_broker.h"
#include "daemon/ingest.h"
#include "daemon/kafka_producer.h"

namespace trimtab::daemon {
namespace {

TEST(StopWithHeldBatch, LeavesTheGroupWithinItsDeadline) {
  auto broker = EmbeddedBroker::start(1);
  ASSERT_TRUE(broker) << broker.error().message;
  KafkaProducerOptions sending;
  sending.connection.brokers = (*broker)->bootstrap();
  auto producer = KafkaProducer::open(sending);
  ASSERT_TRUE(producer);
  for (int n = 0; n < 200; ++n) {
    ASSERT_TRUE((*producer)->send("trimtab.records", "k",
                                  R"({"id":"r)" + std::to_string(n) + R"(","target":"bot"})"));
  }
  ASSERT_TRUE((*producer)->flush(10'000));

  Ingest::Options options;
  options.kafka.connection.brokers = (*broker)->bootstrap();
  options.kafka.session_timeout_ms = 6'000;
  options.kafka.batch_wait_ms = 20;
  options.kafka.batch_records = 10;
  options.targets = {"bot"};
  OffsetBook book;
  BatchQueue queue(1);
  BatchPool pool;
  SystemClock clock;
  Metrics metrics;
  auto ingest = Ingest::create(options, book, queue, pool, clock, metrics);
  ASSERT_TRUE(ingest) << ingest.error().message;
  (*ingest)->start();
  const std::int64_t patience = clock.mono_ms() + 20'000;
  while ((*ingest)->status().state != SourceState::kBackpressure) {
    ASSERT_LT(clock.mono_ms(), patience) << "the queue never filled";
    clock.sleep_ms(10);
  }
  queue.close();
  const Status stopped = (*ingest)->stop(5'000);
  EXPECT_TRUE(stopped) << stopped.error().message;
}

}  // namespace
}  // namespace trimtab::daemon
