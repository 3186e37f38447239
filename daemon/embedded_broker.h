// EmbeddedBroker: librdkafka's mock cluster, a Kafka-protocol broker on loopback that any client of
// any process can use. For the demo and tests only: it keeps 5 MiB or 100,000 messages a partition
// in memory, has no TLS and forgets everything when it ends. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace trimtab::daemon {

class EmbeddedBroker {
 public:
  // With the three topics of config::KafkaTopics{}, `partitions` each; others are made by
  // create_topic, or on first use (then with 4). kInternal when the cluster cannot be made.
  [[nodiscard]] static Result<std::unique_ptr<EmbeddedBroker>> start(int partitions = 8,
                                                                     int brokers = 1);
  ~EmbeddedBroker();

  // "127.0.0.1:PORT[,127.0.0.1:PORT..]"
  [[nodiscard]] const std::string& bootstrap() const;
  [[nodiscard]] Status create_topic(const std::string& topic, int partitions);
  // The broker goes away (connections are refused) and comes back with its data.
  [[nodiscard]] Status set_down(bool down);
  // The topic answers with "not authorized" until allowed again.
  void set_refused(const std::string& topic, bool refused);
  // Adds to every answer's round trip.
  [[nodiscard]] Status set_latency_ms(int latency_ms);

 private:
  struct State;
  explicit EmbeddedBroker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::daemon
