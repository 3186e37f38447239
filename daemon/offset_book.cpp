#include <algorithm>
#include <chrono>

#include "daemon/kafka_source.h"

namespace trimtab::daemon {

void OffsetBook::set(const TopicPartition& where, std::int64_t next) {
  std::lock_guard lock(mutex_);
  next_[where] = next;
  moved_.notify_all();
}

void OffsetBook::committed(const std::vector<OffsetRange>& ranges) {
  std::lock_guard lock(mutex_);
  for (const OffsetRange& range : ranges) {
    std::int64_t& next = next_.try_emplace({range.topic, range.partition}, 0).first->second;
    if (range.next() > next) next = range.next();
  }
  moved_.notify_all();
}

std::optional<std::int64_t> OffsetBook::next(const TopicPartition& where) const {
  std::lock_guard lock(mutex_);
  const auto at = next_.find(where);
  if (at == next_.end()) return std::nullopt;
  return at->second;
}

bool OffsetBook::knows_topic(const std::string& topic) const {
  std::lock_guard lock(mutex_);
  const auto at = next_.lower_bound({topic, 0});
  return at != next_.end() && at->first.topic == topic;
}

std::map<TopicPartition, std::int64_t> OffsetBook::all() const {
  std::lock_guard lock(mutex_);
  return next_;
}

bool OffsetBook::wait_for(const std::map<TopicPartition, std::int64_t>& wanted,
                          std::int64_t timeout_ms) const {
  std::unique_lock lock(mutex_);
  return moved_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
    for (const auto& [where, next] : wanted) {
      const auto at = next_.find(where);
      if (at == next_.end() || at->second < next) return false;
    }
    return true;
  });
}

void OurConsumers::holds(int member, std::size_t partitions) {
  std::lock_guard lock(mutex_);
  held_[member] = partitions;
}

std::size_t OurConsumers::partitions() const {
  std::lock_guard lock(mutex_);
  std::size_t sum = 0;
  for (const auto& [member, partitions] : held_) sum += partitions;
  return sum;
}

std::size_t drop_applied(RecordBatch& batch, const std::map<TopicPartition, std::int64_t>& next) {
  bool overlaps = false;
  for (const OffsetRange& range : batch.ranges) {
    const auto at = next.find({range.topic, range.partition});
    overlaps = overlaps || (at != next.end() && range.first < at->second);
  }
  if (!overlaps) return 0;
  const std::size_t removed = std::erase_if(batch.records, [&](const DecodedRecord& record) {
    if (record.origin.partition < 0) return false;
    const auto at = next.find({batch.topics[record.origin.topic], record.origin.partition});
    return at != next.end() && record.origin.offset < at->second;
  });
  std::erase_if(batch.ranges, [&](OffsetRange& range) {
    const auto at = next.find({range.topic, range.partition});
    if (at == next.end()) return false;
    range.first = std::max(range.first, at->second);
    return range.last < range.first;
  });
  return removed;
}

std::string_view source_state_name(SourceState state) {
  switch (state) {
    case SourceState::kStarting: return "starting";
    case SourceState::kRunning: return "running";
    case SourceState::kBackpressure: return "backpressure";
    case SourceState::kForeignMember: return "foreign_member";
    case SourceState::kOffsetGone: return "offset_gone";
    case SourceState::kStalled: return "stalled";
    case SourceState::kFenced: return "fenced";
    case SourceState::kFailed: return "failed";
    case SourceState::kClosed: return "closed";
  }
  return "";
}

std::int64_t SourceStatus::total_lag() const {
  std::int64_t sum = 0;
  for (const auto& [where, records] : lag) sum += records;
  return sum;
}

}  // namespace trimtab::daemon
