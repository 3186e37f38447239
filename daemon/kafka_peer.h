// What `trimtab check-config --connect` asks a Kafka cluster: does it answer, and has it the
// topics? No group is joined and nothing is read. Blocks; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"

namespace trimtab::daemon {

struct TopicState {
  std::string topic;
  std::size_t partitions = 0;  // 0: it does not exist
};

// Of records, feedback and dead letters. kInvalid: a property that librdkafka refuses, or a secret
// file that cannot be read; kUnavailable: no answer within the time.
[[nodiscard]] Result<std::vector<TopicState>> ask_kafka(const config::KafkaSettings& settings,
                                                        int timeout_ms);

}  // namespace trimtab::daemon
