// Ingest: one thread from Kafka bytes to decoded batches in a bounded queue (HOUSE.md section 3).
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
    // Runs on the ingest thread over each decoded batch before it is queued: signal extraction.
    std::function<void(RecordBatch&)> prepare;
  };

  // All references outlive the object. Nothing runs before start().
  [[nodiscard]] static Result<std::unique_ptr<Ingest>> create(Options options, OffsetBook& book,
                                                              BatchQueue& queue, BatchPool& pool,
                                                              Clock& clock, Metrics& metrics);
  ~Ingest();  // stop()s

  void start();
  // Stops polling, leaves the group within the deadline, joins the thread.
  [[nodiscard]] Status stop(std::int64_t deadline_ms);

  // Thread-safe.
  [[nodiscard]] SourceStatus status() const;
  // Set once the thread has ended by itself (fenced, failed): the daemon must exit non-zero.
  [[nodiscard]] Status failure() const;
  // Counts turns of the loop: the watchdog's sign of life.
  [[nodiscard]] std::uint64_t turns() const;
  [[nodiscard]] KafkaSource& source();
  // Asked for by control while SQLite cannot be written (disk full); polling goes on.
  void hold(bool on);

 private:
  struct State;
  explicit Ingest(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::daemon
