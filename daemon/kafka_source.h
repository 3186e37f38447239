// KafkaSource: the daemon's consumer (OPERATIONS.md section 1).
//
// Eager `range` + static membership, manual offsets: the truth is the OffsetBook (what SQLite has
// committed), the broker only learns of it to show lag. Poll, rebalance and pause happen on the one
// thread that calls poll(). On revoke it waits (bounded) until what it handed out is committed. The
// first error that needs a person stops the source with a named state; nothing is skipped silently.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record_batch.h"

namespace trimtab::daemon {

// The next offset of each partition as committed in SQLite. Filled at start, moved by control after
// each commit, read by the source at each assignment. Thread-safe.
class OffsetBook {
 public:
  void set(const TopicPartition& where, std::int64_t next);
  // Moves forward to the end of each range, never back; wakes waiters.
  void committed(const std::vector<OffsetRange>& ranges);
  [[nodiscard]] std::optional<std::int64_t> next(const TopicPartition& where) const;
  [[nodiscard]] bool knows_topic(const std::string& topic) const;
  [[nodiscard]] std::map<TopicPartition, std::int64_t> all() const;
  // True when every partition of `wanted` has reached its offset within the time.
  [[nodiscard]] bool wait_for(const std::map<TopicPartition, std::int64_t>& wanted,
                              std::int64_t timeout_ms) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable moved_;
  std::map<TopicPartition, std::int64_t> next_;
};

// The consumers of this process in one group (ingest.threads): what they hold together, so that
// none of them takes another one for a stranger. Thread-safe.
class OurConsumers {
 public:
  void holds(int member, std::size_t partitions);
  [[nodiscard]] std::size_t partitions() const;

 private:
  mutable std::mutex mutex_;
  std::map<int, std::size_t> held_;
};

enum class SourceState {
  kStarting,  // no assignment yet
  kRunning,
  kBackpressure,   // the queue behind is full: partitions paused
  kForeignMember,  // another consumer in our group holds partitions: paused until it leaves
  kOffsetGone,     // the log no longer has our offset: `trimtab offsets reset --to` is needed
  kStalled,        // lag but no batch: the consumer was rebuilt once
  kFenced,         // another instance has our group.instance.id: exit non-zero
  kFailed,         // a fatal error of the client library
  kClosed,
};
[[nodiscard]] std::string_view source_state_name(SourceState state);

struct SourceStatus {
  SourceState state = SourceState::kStarting;
  std::string detail;  // one line for an operator; empty when running
  std::uint64_t rebalances = 0;
  std::vector<TopicPartition> assigned;
  std::map<TopicPartition, std::int64_t> lag;  // high watermark - position, where known
  std::int64_t last_batch_mono_ms = 0;
  std::int64_t last_poll_mono_ms = 0;
  // With kOffsetGone: which partition, the offset asked for, and what the log has.
  std::optional<TopicPartition> gone;
  std::int64_t gone_offset = 0;
  std::int64_t log_start = 0;
  std::int64_t log_end = 0;
  [[nodiscard]] std::int64_t total_lag() const;
};

// One message as the broker gave it: views, valid until the next poll() or release().
struct RawMessage {
  std::uint16_t topic = 0;  // index into topics()
  std::int32_t partition = 0;
  std::int64_t offset = 0;
  std::int64_t timestamp_ms = 0;
  std::string_view key, payload;
  const void* native = nullptr;  // rd_kafka_message_t, for the dead-letter writer's headers
};

// The message's own headers, in order.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> message_headers(
    const RawMessage& message);

struct RawBatch {
  std::vector<RawMessage> messages;  // per partition in offset order
  std::vector<OffsetRange> ranges;
};

class KafkaSource {
 public:
  // Connects lazily: a broker that is down is not an error here. kInvalid for a property that
  // librdkafka refuses (its words in the message). `book` outlives the source. `member` counts the
  // consumers of this process from 0; the first one's group.instance.id is the settings' own, the
  // others' have "-<member>" behind it. All share `ours`.
  [[nodiscard]] static Result<std::unique_ptr<KafkaSource>> open(
      const config::KafkaSettings& settings, std::vector<std::string> topics, OffsetBook& book,
      Clock& clock, Metrics& metrics, int member = 0, std::shared_ptr<OurConsumers> ours = nullptr);
  ~KafkaSource();  // closes with the deadline of the settings if close() was not called

  // Waits at most batch_wait_ms for messages; fills `out` (whose earlier messages are freed). Must
  // be called at least every max_poll_interval_ms, also while paused. An error is final: kConflict
  // when fenced, kInternal / kUnavailable when the client is lost or made no progress.
  [[nodiscard]] Status poll(RawBatch& out);
  // Frees the messages of the last poll early.
  void release();

  // Back-pressure: polls on, delivers nothing. Idempotent. The poll thread only.
  void pause();
  void resume();

  // Thread-safe from here on.
  [[nodiscard]] SourceStatus status() const;
  [[nodiscard]] const std::vector<std::string>& topics() const;
  // Earliest and end offset of a partition, asked of the broker.
  [[nodiscard]] Result<std::pair<std::int64_t, std::int64_t>> watermarks(
      const TopicPartition& where, std::int64_t timeout_ms) const;
  // Go back to the OffsetBook (after control has stored an offset reset). Acted on by poll().
  void request_reseek();

  // Commits what the book says to the broker, leaves the group; bounded by the deadline.
  [[nodiscard]] Status close(std::int64_t deadline_ms);

 private:
  struct State;
  explicit KafkaSource(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::daemon
