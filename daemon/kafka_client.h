// librdkafka's consumer handle with the house's settings, and the questions that the source asks
// of the cluster. Private to kafka_source.cpp; one thread unless a function says otherwise.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record_batch.h"

namespace trimtab::daemon {

struct PartitionListDelete {
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
};
using PartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t, PartitionListDelete>;

// Callbacks run on the thread that polls; `opaque` is what new_consumer was given.
struct ConsumerCallbacks {
  void (*rebalance)(rd_kafka_t*, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*, void*);
  void (*error)(rd_kafka_t*, int, const char*, void*);
  int (*stats)(rd_kafka_t*, char*, std::size_t, void*);
};

// A consumer whose queue carries messages, rebalances, statistics and errors. `instance` is its
// group.instance.id, empty for a dynamic member. kInvalid: a property that librdkafka refuses.
[[nodiscard]] Result<rd_kafka_t*> new_consumer(const config::KafkaSettings& settings,
                                               const std::string& instance,
                                               const ConsumerCallbacks& callbacks, void* opaque);

// Our client.id: members of the group that carry it are ours. A static member keeps it over
// restarts (the broker goes on showing the first one), a dynamic one has it per process.
[[nodiscard]] std::string client_id(const config::KafkaSettings& settings);

// Partitions that exist of the topics (a topic that does not exist has none). kUnavailable when the
// cluster does not answer.
[[nodiscard]] Result<std::vector<TopicPartition>> existing_partitions(
    rd_kafka_t* consumer, const std::vector<std::string>& topics, int timeout_ms);

// Members of our group that are not ours: "client.id (host)". kUnavailable when the broker
// does not answer or has no such call (the embedded one).
[[nodiscard]] Result<std::vector<std::string>> foreign_members(
    rd_kafka_t* consumer, const config::KafkaSettings& settings, int timeout_ms);

// What one statistics document says.
struct ConsumerStatistics {
  bool broker_up = false;
  // End of what can be read: the last stable offset for read_committed, else the high watermark.
  std::map<TopicPartition, std::int64_t> ends;
};
[[nodiscard]] std::optional<ConsumerStatistics> parse_statistics(std::string_view json,
                                                                 bool read_committed);

// Commits offsets to the broker and waits at most so long for its answer.
[[nodiscard]] Status commit_and_wait(rd_kafka_t* consumer, rd_kafka_topic_partition_list_t* offsets,
                                     int timeout_ms);

}  // namespace trimtab::daemon
