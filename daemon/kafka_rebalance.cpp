// Assignment, revocation, pauses, and who else is in the group.
#include "daemon/kafka_source_state.h"

namespace trimtab::daemon {

PartitionList KafkaSource::State::list_assigned(bool with_offsets) const {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(assigned.size())));
  for (const auto& [where, partition] : assigned) {
    auto* entry =
        rd_kafka_topic_partition_list_add(list.get(), where.topic.c_str(), where.partition);
    if (with_offsets) entry->offset = partition.next;
  }
  return list;
}

// What SQLite says; a partition it has never seen begins at the configured end of a topic that is
// new to us, and at its beginning if the topic only grew.
std::int64_t KafkaSource::State::start_offset(const TopicPartition& where) const {
  if (const auto next = book.next(where)) return *next;
  const bool latest = settings.first_offset == config::OffsetReset::kLatest;
  return latest && !book.knows_topic(where.topic) ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
}

void KafkaSource::State::on_assign(rd_kafka_topic_partition_list_t* partitions) {
  assigned.clear();
  handed_out.clear();
  for (int i = 0; i < partitions->cnt; ++i) {
    auto& entry = partitions->elems[i];
    const TopicPartition where{entry.topic, entry.partition};
    Partition partition;
    partition.next = entry.offset = start_offset(where);
    const auto topic = std::find(topics.begin(), topics.end(), where.topic);
    partition.topic = static_cast<std::uint16_t>(topic - topics.begin());
    assigned[where] = partition;
  }
  const auto error = rd_kafka_assign(consumer, partitions);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) say(fmt::format("assign: {}", rd_kafka_err2str(error)));
  rd_kafka_resume_partitions(consumer, partitions);  // an earlier pause outlives the assignment
  fetching = true;
  blocked = false;
  check_group = assignment_known = true;
  last_progress_ms = clock.mono_ms();
  rebalances.with().add();
  {
    std::lock_guard lock(mutex);
    ++status.rebalances;
  }
  publish();
}

void KafkaSource::State::on_revoke(rd_kafka_topic_partition_list_t*) {
  // Finish: whatever was handed out should be committed before another member may read on.
  // At a stop nobody takes what is still held back, and the next start begins at SQLite's offsets.
  if (!closing && !book.wait_for(handed_out, kRevokeWaitMs)) {
    say("partitions were revoked before their last batches were committed; they are read again");
  }
  if (rd_kafka_assignment_lost(consumer) == 0) {
    const PartitionList progress = progress_to_tell();
    if (const Status told = commit_and_wait(consumer, progress.get(), kAskMs); !told) {
      say(told.error().message);
    }
  }
  rd_kafka_assign(consumer, nullptr);
  assigned.clear();
  handed_out.clear();
  assignment_known = false;
  set_state(SourceState::kStarting, "");
  publish();
}

void KafkaSource::State::set_fetching(bool on) {
  if (on == fetching || assigned.empty()) return;
  if (on) return restart_fetch();
  const PartitionList list = list_assigned(false);
  rd_kafka_pause_partitions(consumer, list.get());
  fetching = false;
}

// Begins again at the offsets not yet handed out. Resuming by the client would also do, were its
// position after a pause not the weak spot of old versions.
void KafkaSource::State::restart_fetch() {
  const PartitionList list = list_assigned(true);
  rd_kafka_assign(consumer, list.get());
  PartitionList flags = list_assigned(false);
  rd_kafka_resume_partitions(consumer, flags.get());
  fetching = true;
  last_progress_ms = clock.mono_ms();
}

void KafkaSource::State::refetch_from_book() {
  for (auto& [where, partition] : assigned) {
    partition.next = start_offset(where);
    partition.eof = -1;
  }
  handed_out.clear();
  blocked = false;
  {
    std::lock_guard lock(mutex);
    status.gone.reset();
  }
  set_state(SourceState::kRunning, "");
  restart_fetch();
}

// One writer per group: is there a member that is not this process?
void KafkaSource::State::examine_group() {
  last_group_check_ms = clock.mono_ms();
  check_group = false;
  std::string who;
  if (const auto foreign = foreign_members(consumer, settings, kAskMs)) {
    if (!foreign->empty()) who = fmt::format("{}", fmt::join(*foreign, ", "));
  } else if (const auto existing = existing_partitions(consumer, topics, kAskMs)) {
    // No answer about members: partitions that exist but are not ours belong to somebody.
    const auto missing =
        static_cast<std::int64_t>(existing->size()) - static_cast<std::int64_t>(ours->partitions());
    if (missing > 0)
      who = fmt::format("unknown, holds {} of {} partitions", missing, existing->size());
  } else {
    check_group = true;  // no answer at all: ask again at the next turn
    return;
  }
  if (!who.empty()) {
    blocked = true;
    set_fetching(false);
    return set_state(SourceState::kForeignMember,
                     fmt::format("another consumer is in group '{}': {}; paused until it leaves",
                                 settings.group, who));
  }
  const bool was_foreign = blocked;
  blocked = false;
  if (was_foreign || status.state != SourceState::kBackpressure) {
    set_state(SourceState::kRunning, "");
  }
  if (was_foreign) refetch_from_book();
}

void KafkaSource::State::offset_gone(const rd_kafka_message_t& message) {
  const TopicPartition where{rd_kafka_topic_name(message.rkt), message.partition};
  const auto at = assigned.find(where);
  if (at == assigned.end()) return;
  std::int64_t low = -1;
  std::int64_t high = -1;
  rd_kafka_query_watermark_offsets(consumer, where.topic.c_str(), where.partition, &low, &high,
                                   kAskMs);
  {
    std::lock_guard lock(mutex);
    status.gone = where;
    status.gone_offset = at->second.next;
    status.log_start = low;
    status.log_end = high;
  }
  blocked = true;
  set_fetching(false);
  set_state(SourceState::kOffsetGone,
            fmt::format("{}/{} has no offset {} any more (it has {}..{}): decide with 'trimtab "
                        "offsets reset --to earliest|latest|OFFSET'",
                        where.topic, where.partition, at->second.next, low, high));
}

}  // namespace trimtab::daemon
