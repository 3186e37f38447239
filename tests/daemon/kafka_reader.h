// Reads a topic from its beginning, for tests.
#pragma once

#include <librdkafka/rdkafka.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace trimtab::daemon {

struct ReadMessage {
  std::string key, value;
};

// Waits until `count` messages have come, `wait_ms` at most.
inline std::vector<ReadMessage> read_topic(const std::string& brokers, const std::string& topic,
                                           std::size_t count, int wait_ms = 15'000) {
  char why[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, std::string>>{{"bootstrap.servers", brokers},
                                                        {"group.id", "test-reader"},
                                                        {"auto.offset.reset", "earliest"},
                                                        {"enable.auto.commit", "false"}}) {
    rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why);
  }
  rd_kafka_t* consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
  if (consumer == nullptr) throw std::runtime_error(why);
  rd_kafka_poll_set_consumer(consumer);
  // Partitions by hand: a group's first rebalance takes seconds.
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_topic_t* handle = rd_kafka_topic_new(consumer, topic.c_str(), nullptr);
  rd_kafka_topic_partition_list_t* partitions = rd_kafka_topic_partition_list_new(8);
  if (rd_kafka_metadata(consumer, 0, handle, &metadata, 5'000) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    for (int i = 0; i < metadata->topics[0].partition_cnt; ++i) {
      rd_kafka_topic_partition_list_add(partitions, topic.c_str(),
                                        metadata->topics[0].partitions[i].id)
          ->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_metadata_destroy(metadata);
  }
  rd_kafka_assign(consumer, partitions);
  rd_kafka_topic_partition_list_destroy(partitions);
  rd_kafka_topic_destroy(handle);
  std::vector<ReadMessage> messages;
  for (int waited = 0; messages.size() < count && waited < wait_ms;) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(consumer, 100);
    if (message == nullptr) {
      waited += 100;
      continue;
    }
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      messages.push_back({std::string(static_cast<const char*>(message->key), message->key_len),
                          std::string(static_cast<const char*>(message->payload), message->len)});
    }
    rd_kafka_message_destroy(message);
  }
  rd_kafka_consumer_close(consumer);
  rd_kafka_destroy(consumer);
  return messages;
}

}  // namespace trimtab::daemon
