#include "daemon/kafka_range.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/clock.h"
#include "config/units.h"
#include "daemon/kafka_client.h"

namespace trimtab::daemon {
namespace {

constexpr std::string_view kPrefix = "kafka:";
constexpr int kAnswerMs = 10'000;   // the cluster's patience with a question
constexpr int kSilenceMs = 30'000;  // no message and no end of the partition for so long

Result<RangePoint> parse_point(std::string_view text) {
  if (text == "earliest") return RangePoint{RangePoint::Kind::kEarliest, 0};
  if (text == "latest") return RangePoint{RangePoint::Kind::kLatest, 0};
  if (const auto offset = config::parse_integer(text); offset && *offset >= 0) {
    return RangePoint{RangePoint::Kind::kOffset, *offset};
  }
  if (const auto time = parse_rfc3339(text)) return RangePoint{RangePoint::Kind::kTime, *time};
  return fail(Code::kInvalid, "'" + std::string(text) +
                                  "' is no offset, no RFC 3339 time, and neither 'earliest' nor "
                                  "'latest'");
}

struct QueueDelete {
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};
struct MessageDelete {
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
};
using KafkaMessage = std::unique_ptr<rd_kafka_message_t, MessageDelete>;

// The consumer that all partitions of a range share; closed with the last of them.
struct Consumer {
  rd_kafka_t* handle = nullptr;
  // What came to the common queue before a partition had its own: by partition, in order.
  std::map<std::int32_t, std::deque<KafkaMessage>> early;

  explicit Consumer(rd_kafka_t* opened) : handle(opened) {}
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;
  ~Consumer() {
    early.clear();
    rd_kafka_assign(handle, nullptr);
    rd_kafka_consumer_close(handle);
    rd_kafka_destroy(handle);
  }
  // Serves the common queue: statistics and errors of the client, and what came early.
  void serve() {
    while (KafkaMessage message{rd_kafka_consumer_poll(handle, 0)}) {
      const bool whose = message->rkt != nullptr && message->partition >= 0;
      if (whose) early[message->partition].push_back(std::move(message));
    }
  }
  [[nodiscard]] KafkaMessage take_early(std::int32_t partition) {
    const auto at = early.find(partition);
    if (at == early.end() || at->second.empty()) return nullptr;
    KafkaMessage first = std::move(at->second.front());
    at->second.pop_front();
    return first;
  }
};

class PartitionLog final : public PastLog {
 public:
  PartitionLog(std::shared_ptr<Consumer> consumer, TopicPartition where, std::int64_t end)
      : consumer_(std::move(consumer)), where_(std::move(where)), end_(end) {}

  // Its messages come to a queue of their own, before and after the assignment.
  Status attach() {
    queue_.reset(
        rd_kafka_queue_get_partition(consumer_->handle, where_.topic.c_str(), where_.partition));
    if (!queue_) return fail(Code::kInternal, "kafka: " + name() + " has no queue");
    rd_kafka_queue_forward(queue_.get(), nullptr);
    return {};
  }

  Result<bool> next(Message& out) override {
    SystemClock clock;
    const std::int64_t deadline_ms = clock.mono_ms() + kSilenceMs;
    while (!done_) {
      consumer_->serve();
      message_ = consumer_->take_early(where_.partition);
      if (!message_) message_.reset(rd_kafka_consume_queue(queue_.get(), 200));
      if (message_) {
        TRIMTAB_TRY(const bool usable, look());
        if (!usable) continue;
        offset_ = message_->offset;
        out.payload = {static_cast<const char*>(message_->payload), message_->len};
        out.ts_ms = rd_kafka_message_timestamp(message_.get(), nullptr);
        out.too_long = false;
        if (offset_ + 1 >= end_) done_ = true;
        return true;
      }
      if (clock.mono_ms() >= deadline_ms) {
        return fail(Code::kTimeout, "kafka: " + name() + ": nothing came for 30 s before offset " +
                                        std::to_string(end_));
      }
    }
    return false;
  }
  std::string where() const override { return name() + "@" + std::to_string(offset_); }

 private:
  // True: a message of the range. Sets done_ at the partition's end.
  Result<bool> look() {
    if (message_->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      done_ = true;  // what lies before `end_` were markers of transactions
      return false;
    }
    if (message_->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return fail(Code::kUnavailable,
                  "kafka: " + name() + ": " + rd_kafka_message_errstr(message_.get()));
    }
    if (message_->offset >= end_) {
      done_ = true;
      return false;
    }
    return message_->len > 0;
  }
  [[nodiscard]] std::string name() const {
    return where_.topic + "/" + std::to_string(where_.partition);
  }

  std::shared_ptr<Consumer> consumer_;
  TopicPartition where_;
  std::int64_t end_;
  std::int64_t offset_ = -1;
  bool done_ = false;
  std::unique_ptr<rd_kafka_queue_t, QueueDelete> queue_;
  KafkaMessage message_;
};

// The offset that a point means in one partition, within [low, high].
Result<std::int64_t> offset_of(rd_kafka_t* consumer, const TopicPartition& where,
                               const RangePoint& point, std::int64_t low, std::int64_t high) {
  switch (point.kind) {
    case RangePoint::Kind::kEarliest: return low;
    case RangePoint::Kind::kLatest: return high;
    case RangePoint::Kind::kOffset: return std::clamp(point.value, low, high);
    case RangePoint::Kind::kTime: break;
  }
  const PartitionList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), where.topic.c_str(), where.partition)->offset =
      point.value;
  const auto error = rd_kafka_offsets_for_times(consumer, list.get(), kAnswerMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kUnavailable,
                std::string("kafka: offsets of a time: ") + rd_kafka_err2str(error));
  }
  const std::int64_t found = list->elems[0].offset;
  return found < 0 ? high : std::clamp(found, low, high);  // < 0: nothing is that young
}

struct Bounds {
  TopicPartition where;
  std::int64_t from = 0;
  std::int64_t to = 0;
};

Result<std::vector<Bounds>> bounds_of(rd_kafka_t* consumer, const KafkaRange& range) {
  TRIMTAB_TRY(auto partitions, existing_partitions(consumer, {range.topic}, kAnswerMs));
  if (range.partition >= 0) {
    std::erase_if(partitions, [&](const auto& p) { return p.partition != range.partition; });
  }
  if (partitions.empty()) {
    return fail(Code::kNotFound,
                "kafka: the cluster has no " + range.topic +
                    (range.partition < 0 ? "" : "/" + std::to_string(range.partition)));
  }
  std::vector<Bounds> all;
  for (const TopicPartition& where : partitions) {
    std::int64_t low = 0;
    std::int64_t high = 0;
    const auto error = rd_kafka_query_watermark_offsets(consumer, where.topic.c_str(),
                                                        where.partition, &low, &high, kAnswerMs);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return fail(Code::kUnavailable, std::string("kafka: watermarks: ") + rd_kafka_err2str(error));
    }
    TRIMTAB_TRY(const std::int64_t from, offset_of(consumer, where, range.from, low, high));
    TRIMTAB_TRY(const std::int64_t to, offset_of(consumer, where, range.to, low, high));
    if (from < to) all.push_back({where, from, to});
  }
  if (all.empty()) {
    return fail(Code::kInvalid, "kafka: " + range.topic + ": no message lies in the range");
  }
  return all;
}

void on_rebalance(rd_kafka_t*, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*, void*) {}
void on_error(rd_kafka_t*, int, const char*, void*) {}
int on_statistics(rd_kafka_t*, char*, std::size_t, void*) { return 0; }

}  // namespace

bool is_kafka_range(std::string_view text) { return text.starts_with(kPrefix); }

Result<KafkaRange> parse_kafka_range(std::string_view text) {
  const auto wrong = [&](const std::string& why) {
    return fail(Code::kInvalid,
                std::string(text) + ": " + why + "; write kafka:TOPIC[/PARTITION][@FROM..TO]");
  };
  if (!is_kafka_range(text)) return wrong("no Kafka range");
  std::string_view rest = text.substr(kPrefix.size());
  KafkaRange range;
  const auto at = rest.find('@');
  if (at != std::string_view::npos) {
    const std::string_view span = rest.substr(at + 1);
    const auto dots = span.find("..");
    if (dots == std::string_view::npos) return wrong("no '..' after '@'");
    const auto from = parse_point(span.substr(0, dots));
    if (!from) return wrong(from.error().message);
    const auto to = parse_point(span.substr(dots + 2));
    if (!to) return wrong(to.error().message);
    range.from = *from;
    range.to = *to;
    rest = rest.substr(0, at);
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    const auto partition = config::parse_integer(rest.substr(slash + 1));
    if (!partition || *partition < 0 || *partition > 1'000'000) return wrong("bad partition");
    range.partition = static_cast<std::int32_t>(*partition);
    rest = rest.substr(0, slash);
  }
  if (rest.empty()) return wrong("no topic");
  range.topic = rest;
  const bool by_offset =
      range.from.kind == RangePoint::Kind::kOffset || range.to.kind == RangePoint::Kind::kOffset;
  if (by_offset && range.partition < 0) return wrong("offsets need a partition");
  return range;
}

Result<std::vector<std::unique_ptr<PastLog>>> open_kafka_range(
    const config::KafkaSettings& settings, const KafkaRange& range) {
  config::KafkaSettings reading = settings;
  reading.group = settings.group + "-past";  // librdkafka wants one; it is never joined
  reading.group_instance_id.clear();
  TRIMTAB_TRY(rd_kafka_t * handle,
              new_consumer(reading, "", {on_rebalance, on_error, on_statistics}, nullptr));
  auto consumer = std::make_shared<Consumer>(handle);
  TRIMTAB_TRY(const auto bounds, bounds_of(handle, range));
  const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(bounds.size())));
  for (const Bounds& one : bounds) {
    rd_kafka_topic_partition_list_add(list.get(), one.where.topic.c_str(), one.where.partition)
        ->offset = one.from;
  }
  std::vector<std::unique_ptr<PastLog>> logs;
  for (const Bounds& one : bounds) {
    auto log = std::make_unique<PartitionLog>(consumer, one.where, one.to);
    TRIMTAB_CHECK_OK(log->attach());
    logs.push_back(std::move(log));
  }
  const auto error = rd_kafka_assign(handle, list.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kInternal, std::string("kafka: assign: ") + rd_kafka_err2str(error));
  }
  for (auto& log : logs) TRIMTAB_CHECK_OK(static_cast<PartitionLog&>(*log).attach());
  return logs;
}

}  // namespace trimtab::daemon
