// A range of a Kafka topic as logs of the past, one a partition:
//   kafka:TOPIC[/PARTITION][@FROM..TO]
// FROM (inclusive) and TO (exclusive) are offsets (then with a PARTITION), RFC 3339 times, or
// `earliest` and `latest`; absent: all there is. Partitions are assigned by hand: no group is
// joined and nothing is committed, so a running daemon does not notice.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/past_log.h"

namespace trimtab::daemon {

// Where a range begins or ends.
struct RangePoint {
  enum class Kind { kEarliest, kLatest, kOffset, kTime };
  Kind kind = Kind::kEarliest;
  std::int64_t value = 0;  // offset, or ms since the epoch
};
struct KafkaRange {
  std::string topic;
  std::int32_t partition = -1;  // -1: all
  RangePoint from;
  RangePoint to{RangePoint::Kind::kLatest, 0};
};

[[nodiscard]] bool is_kafka_range(std::string_view text);  // begins with "kafka:"
// kInvalid with what to write.
[[nodiscard]] Result<KafkaRange> parse_kafka_range(std::string_view text);

// Asks the cluster for the offsets and opens a log a partition. kUnavailable when it does not
// answer, kNotFound for a topic or partition that does not exist, kInvalid for an empty range.
[[nodiscard]] Result<std::vector<std::unique_ptr<PastLog>>> open_kafka_range(
    const config::KafkaSettings& settings, const KafkaRange& range);

}  // namespace trimtab::daemon
