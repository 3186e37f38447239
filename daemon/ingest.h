// Ingest: from Kafka bytes to decoded batches in a bounded queue (HOUSE.md section 3), on
// `ingest.threads` threads with a consumer, a decoder and a dead-letter writer each; all are
// members of one group, so that a partition belongs to one of them at a time.
//
//   poll -> decode_record -> dead letters flushed -> prepare(batch) -> queue
//
// Full queue: the partitions pause, polling goes on. Control pops batches, commits them, tells the
// OffsetBook and gives the batch back to the pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/kafka_source.h"
#include "daemon/record_batch.h"

namespace trimtab::daemon {

using BatchQueue = BoundedQueue<std::unique_ptr<RecordBatch>>;

class Ingest {
 public:
  struct Options {
    config::KafkaSettings kafka;
    config::IngestSettings ingest;
    std::vector<std::string> targets;
    // drift::SignalExtractor::pointers() of each target that has any.
    std::map<std::string, std::vector<std::string>> pointers;
    // Runs on the ingest threads (several at once) over each decoded batch before it is queued:
    // signal extraction.
    std::function<void(RecordBatch&)> prepare;
  };

  // All references outlive the object. Nothing runs before start().
  [[nodiscard]] static Result<std::unique_ptr<Ingest>> create(Options options, OffsetBook& book,
                                                              BatchQueue& queue, BatchPool& pool,
                                                              Clock& clock, Metrics& metrics);
  ~Ingest();  // stop()s

  void start();
  // Stops polling, leaves the group within the deadline, joins the threads.
  [[nodiscard]] Status stop(std::int64_t deadline_ms);

  // Thread-safe. Of all consumers together: the state is the one that most needs a person.
  [[nodiscard]] SourceStatus status() const;
  // Set once a thread has ended by itself (fenced, failed): the daemon must exit non-zero.
  [[nodiscard]] Status failure() const;
  // Turns of the slowest thread: the watchdog's sign of life.
  [[nodiscard]] std::uint64_t turns() const;
  // Earliest and end offset of a partition, asked of the broker.
  [[nodiscard]] Result<std::pair<std::int64_t, std::int64_t>> watermarks(
      const TopicPartition& where, std::int64_t timeout_ms) const;
  // Every consumer goes back to the OffsetBook.
  void request_reseek();
  // Asked for by control while SQLite cannot be written (disk full); polling goes on.
  void hold(bool on);

 private:
  class Reader;
  explicit Ingest(std::vector<std::unique_ptr<Reader>> readers);
  std::vector<std::unique_ptr<Reader>> readers_;
};

}  // namespace trimtab::daemon
