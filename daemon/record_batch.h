// RecordBatch: what the ingest thread hands to control, and the unit of commit.
//
// One batch = some consecutive messages of some partitions, decoded, with the arena that holds
// their texts. Control applies it and commits {state, next offsets} in one transaction; then the
// batch goes back to its pool so that steady state allocates nothing. A batch posted over HTTP has
// no ranges and an `on_committed` that answers the caller. Owned by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/record.h"
#include "daemon/text_arena.h"
#include "drift/observation.h"

namespace trimtab::daemon {

struct TopicPartition {
  std::string topic;
  std::int32_t partition = 0;
  auto operator<=>(const TopicPartition&) const = default;
};

// Messages first..last (inclusive) of one partition were consumed: state may move to `last + 1`.
// Gaps inside (compacted or aborted messages) are covered.
struct OffsetRange {
  std::string topic;
  std::int32_t partition = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
  [[nodiscard]] std::int64_t next() const { return last + 1; }
};

struct DecodedRecord {
  Origin origin;
  Decoded value;
};

struct RecordBatch {
  std::uint64_t number = 0;  // counts up from 1 within a process
  std::vector<std::string> topics;
  std::vector<OffsetRange> ranges;  // sorted by (topic, partition); empty for HTTP
  std::vector<DecodedRecord> records;
  // What drift sees of them, extracted on the ingest thread: observed[i] is records[i]'s index in
  // `observations`, -1: none. Shorter than `records`: the rest was not looked at.
  std::vector<drift::Observation> observations;
  std::vector<std::int32_t> observed;
  TextArena arena;
  // Called by control, once, after the commit that holds this batch (or after it was refused).
  std::function<void(const Status&)> on_committed;

  void reset() {
    ranges.clear();
    records.clear();
    observations.clear();
    observed.clear();
    arena.reset();
    on_committed = nullptr;
  }
};

// Takes out what `next` (partition -> next offset to apply) says was applied before: records and
// ranges that lie below it. Needed wherever a batch may overlap committed state, which a rebalance
// can bring about. Returns the number of records removed. Records over HTTP are left alone.
std::size_t drop_applied(RecordBatch& batch, const std::map<TopicPartition, std::int64_t>& next);

// Batches that wait to be used again. Thread-safe. Keeps at most `capacity`; more are freed.
class BatchPool {
 public:
  explicit BatchPool(std::size_t capacity = 16) : capacity_(capacity) {}

  [[nodiscard]] std::unique_ptr<RecordBatch> take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<RecordBatch>();
    auto batch = std::move(free_.back());
    free_.pop_back();
    return batch;
  }

  void give_back(std::unique_ptr<RecordBatch> batch) {
    batch->reset();
    std::lock_guard lock(mutex_);
    if (free_.size() < capacity_) free_.push_back(std::move(batch));
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RecordBatch>> free_;
};

}  // namespace trimtab::daemon
