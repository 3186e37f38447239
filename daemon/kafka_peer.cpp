#include "daemon/kafka_peer.h"

#include <algorithm>
#include <memory>

#include "daemon/kafka_client.h"

namespace trimtab::daemon {

Result<std::vector<TopicState>> ask_kafka(const config::KafkaSettings& settings, int timeout_ms) {
  const ConsumerCallbacks silent{
      .rebalance = [](rd_kafka_t*, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*, void*) {},
      .error = [](rd_kafka_t*, int, const char*, void*) {},
      .stats = [](rd_kafka_t*, char*, std::size_t, void*) { return 0; }};
  TRIMTAB_TRY(rd_kafka_t * handle, new_consumer(settings, "", silent, nullptr));
  const std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)> consumer(handle,
                                                                          &rd_kafka_destroy);
  std::vector<TopicState> states;
  for (const auto& topic :
       {settings.topics.records, settings.topics.feedback, settings.topics.dead_letters}) {
    const bool known = std::any_of(states.begin(), states.end(),
                                   [&](const auto& state) { return state.topic == topic; });
    if (known) continue;
    TRIMTAB_TRY(const auto partitions, existing_partitions(consumer.get(), {topic}, timeout_ms));
    states.push_back({.topic = topic, .partitions = partitions.size()});
  }
  return states;
}

}  // namespace trimtab::daemon
