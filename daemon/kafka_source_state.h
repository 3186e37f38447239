// The inside of KafkaSource: one state machine over one consumer handle. Private to
// kafka_source.cpp (the loop) and kafka_rebalance.cpp (assignment, pauses, the group).
#pragma once

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "daemon/kafka_client.h"
#include "daemon/kafka_source.h"

namespace trimtab::daemon {

inline constexpr int kAskMs = 5'000;                   // patience with one question to the cluster
inline constexpr std::int64_t kRevokeWaitMs = 10'000;  // for what was handed out, before giving up
inline constexpr std::int64_t kCommitEveryMs = 5'000;  // to the broker, only to show lag
inline constexpr std::int64_t kGroupCheckMs = 2'000;   // while a foreign member is there

struct Partition {
  std::int64_t next = RD_KAFKA_OFFSET_INVALID;  // the next offset to hand out; may be logical
  std::int64_t eof = -1;                        // the fetcher saw the end here
  std::int64_t end = -1;                        // by the statistics
  std::int64_t told = -1;                       // last offset committed to the broker
  std::uint16_t topic = 0;

  [[nodiscard]] std::int64_t lag() const {
    if (end < 0 || next < 0) return 0;
    return std::max<std::int64_t>(0, end - std::max(next, eof));
  }
};

struct KafkaSource::State {
  config::KafkaSettings settings;
  std::vector<std::string> topics;
  OffsetBook& book;
  Clock& clock;
  const int member;
  const std::shared_ptr<OurConsumers> ours;
  rd_kafka_t* consumer = nullptr;
  rd_kafka_queue_t* queue = nullptr;

  // The poll thread's own.
  std::map<TopicPartition, Partition> assigned;
  std::map<TopicPartition, std::int64_t> handed_out;
  std::vector<rd_kafka_message_t*> messages;
  std::size_t message_count = 0;
  bool check_group = false;
  bool assignment_known = false;  // the group has told us, be it that we get nothing
  bool paused = false;            // by pause()
  bool blocked = false;           // foreign member or offset gone: nothing is handed out
  bool fetching = true;           // false: partitions are paused in the client
  bool broker_up = false;
  bool rebuilt = false;
  bool closing = false;  // the queue behind us is closed: nothing more will be committed
  std::int64_t last_progress_ms = 0;
  std::int64_t last_commit_ms = 0;
  std::int64_t last_group_check_ms = 0;
  std::optional<Error> fatal;
  log::RateLimit lines{10};
  std::atomic<bool> reseek{false};

  mutable std::mutex mutex;  // guards status
  SourceStatus status;

  Family<Counter>& rebalances;
  Family<Gauge>& lag;

  State(const config::KafkaSettings& s, std::vector<std::string> t, OffsetBook& b, Clock& c,
        Metrics& m, int which, std::shared_ptr<OurConsumers> of)
      : settings(s),
        topics(std::move(t)),
        book(b),
        clock(c),
        member(which),
        ours(of ? std::move(of) : std::make_shared<OurConsumers>()),
        rebalances(m.counter("trimtab_kafka_rebalances_total",
                             "Times that the consumer group assigned partitions anew")),
        lag(m.gauge("trimtab_kafka_lag_records", "Messages behind the end of the partition",
                    {"topic", "partition"})) {
    messages.resize(static_cast<std::size_t>(std::max<std::int64_t>(1, settings.batch_records)));
  }
  ~State() { destroy(); }

  Status create();
  void destroy();
  void free_messages();
  void set_state(SourceState state, std::string detail);
  void publish();
  void say(const std::string& what);
  PartitionList list_assigned(bool with_offsets) const;
  std::int64_t start_offset(const TopicPartition& where) const;
  void on_assign(rd_kafka_topic_partition_list_t* partitions);
  void on_revoke(rd_kafka_topic_partition_list_t* partitions);
  void on_stats(std::string_view json);
  void on_error(int code, const char* reason);
  void set_fetching(bool on);
  void restart_fetch();
  void refetch_from_book();
  void examine_group();
  void offset_gone(const rd_kafka_message_t& message);
  bool accept(const rd_kafka_message_t& message, RawBatch& out);
  void handle_error_message(const rd_kafka_message_t& message);
  void collect(RawBatch& out);
  PartitionList progress_to_tell();
  void tell_broker();
  Status watchdog(std::int64_t now_ms);
  Status check_fatal();

  static State& from(void* opaque) { return *static_cast<State*>(opaque); }
};

}  // namespace trimtab::daemon
