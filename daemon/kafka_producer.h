// KafkaProducer: messages to Kafka from threads that must never wait for it.
//
// send() copies into librdkafka's bounded queue and returns at once: false means that the message
// was dropped (queue full, too large) and counted. A thread of the producer's own serves delivery
// reports. Idempotent by default, so that a retry does not duplicate. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"

namespace trimtab::daemon {

struct KafkaProducerOptions {
  config::KafkaConnection connection;  // its properties win over everything below
  std::string client_id = "trimtab";
  std::int64_t queue_messages = 10'000;
  std::int64_t queue_bytes = 256LL << 20;
  std::int64_t max_message_bytes = (1LL << 20) + (64LL << 10);
  std::int64_t linger_ms = 20;         // gathers a batch: throughput for 20 ms of delay
  std::int64_t delivery_ms = 120'000;  // then a message has failed; librdkafka's patience
  std::string compression = "lz4";
};

struct KafkaHeader {
  std::string name, value;
};

class KafkaProducer {
 public:
  struct Counts {
    std::uint64_t accepted = 0;   // by send()
    std::uint64_t delivered = 0;  // acknowledged by the broker
    std::uint64_t dropped = 0;    // send() said no
    std::uint64_t failed = 0;     // accepted, but not delivered within delivery_ms
    std::uint64_t too_large = 0;  // of failed: the broker will never take one of that size
    std::uint64_t errors = 0;     // of brokers and connections
    std::int64_t queued = 0;      // accepted, report not here yet
  };

  // Connects in the background: a broker that is down is no error here. kInvalid: a property that
  // librdkafka does not know or a property file that cannot be read.
  [[nodiscard]] static Result<std::unique_ptr<KafkaProducer>> open(KafkaProducerOptions options);
  ~KafkaProducer();  // without flush(): what is queued is lost
  KafkaProducer(const KafkaProducer&) = delete;
  KafkaProducer& operator=(const KafkaProducer&) = delete;

  [[nodiscard]] bool send(const std::string& topic, std::string_view key, std::string_view value,
                          const std::vector<KafkaHeader>& headers = {});
  [[nodiscard]] Counts counts() const;
  // Waits until everything accepted has its report. kTimeout names how many are left.
  [[nodiscard]] Status flush(std::int64_t wait_ms);
  // The last error of a broker, for health pages; empty when there was none.
  [[nodiscard]] std::string last_error() const;

 private:
  struct State;
  explicit KafkaProducer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::daemon
