// The poll loop, rebalances and pauses. See the header for the contract.
#include "daemon/kafka_source.h"

#include <array>
#include <tuple>

#include "base/check.h"
#include "daemon/kafka_source_state.h"

namespace trimtab::daemon {

Status KafkaSource::State::create() {
  const ConsumerCallbacks callbacks{[](rd_kafka_t*, rd_kafka_resp_err_t error,
                                       rd_kafka_topic_partition_list_t* partitions, void* opaque) {
                                      if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
                                        return from(opaque).on_assign(partitions);
                                      from(opaque).on_revoke(partitions);
                                    },
                                    [](rd_kafka_t*, int code, const char* reason, void* opaque) {
                                      from(opaque).on_error(code, reason);
                                    },
                                    [](rd_kafka_t*, char* json, std::size_t size, void* opaque) {
                                      from(opaque).on_stats({json, size});
                                      return 0;  // the client frees the text
                                    }};
  std::string instance = settings.group_instance_id;
  if (!instance.empty() && member > 0) instance += "-" + std::to_string(member);
  TRIMTAB_TRY(consumer, new_consumer(settings, instance, callbacks, this));
  queue = rd_kafka_queue_get_consumer(consumer);
  PartitionList subscription(rd_kafka_topic_partition_list_new(static_cast<int>(topics.size())));
  for (const std::string& topic : topics) {
    rd_kafka_topic_partition_list_add(subscription.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  }
  const auto error = rd_kafka_subscribe(consumer, subscription.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kInvalid, std::string("kafka: subscribe: ") + rd_kafka_err2str(error));
  }
  last_progress_ms = clock.mono_ms();
  return {};
}

void KafkaSource::State::free_messages() {
  for (std::size_t i = 0; i < message_count; ++i) rd_kafka_message_destroy(messages[i]);
  message_count = 0;
}

void KafkaSource::State::destroy() {
  free_messages();
  if (queue != nullptr) rd_kafka_queue_destroy(queue);
  queue = nullptr;
  if (consumer != nullptr) rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  consumer = nullptr;
}

void KafkaSource::State::set_state(SourceState state, std::string detail) {
  std::lock_guard lock(mutex);
  if (status.state != state && (!detail.empty() || state == SourceState::kRunning)) {
    log::info("kafka: {}{}{}", source_state_name(state), detail.empty() ? "" : ": ", detail);
  }
  status.state = state;
  status.detail = std::move(detail);
}

void KafkaSource::State::publish() {
  ours->holds(member, assigned.size());
  std::lock_guard lock(mutex);
  status.assigned.clear();
  status.lag.clear();
  for (const auto& [where, partition] : assigned) {
    status.assigned.push_back(where);
    if (partition.end < 0) continue;
    status.lag[where] = partition.lag();
    lag.with({where.topic, std::to_string(where.partition)})
        .set(static_cast<double>(partition.lag()));
  }
}

void KafkaSource::State::say(const std::string& what) {
  std::uint64_t held_back = 0;
  if (lines.allow(clock.mono_ms(), held_back)) {
    log::warn("kafka: {}{}", what, log::not_shown(held_back));
  }
}

void KafkaSource::State::on_stats(std::string_view json) {
  const auto statistics =
      parse_statistics(json, settings.isolation == config::Isolation::kReadCommitted);
  if (!statistics) return;
  broker_up = statistics->broker_up;
  for (const auto& [where, end] : statistics->ends) {
    const auto at = assigned.find(where);
    if (at != assigned.end()) at->second.end = end;
  }
  publish();
}

void KafkaSource::State::on_error(int code, const char* reason) {
  if (code != RD_KAFKA_RESP_ERR__FATAL) return say(reason);
  std::array<char, 512> why{};
  const auto original = rd_kafka_fatal_error(consumer, why.data(), why.size());
  if (original == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
    fatal = Error{Code::kConflict,
                  fmt::format("kafka: fenced: another instance uses group.instance.id '{}' of "
                              "group '{}'; stop one of the two",
                              settings.group_instance_id, settings.group)};
    return;
  }
  fatal = Error{Code::kInternal,
                fmt::format("kafka: fatal: {} ({})", why.data(), rd_kafka_err2name(original))};
}

Status KafkaSource::State::check_fatal() {
  if (!fatal) return {};
  set_state(fatal->code == Code::kConflict ? SourceState::kFenced : SourceState::kFailed,
            fatal->message);
  return tl::unexpected<Error>(*fatal);
}

void KafkaSource::State::handle_error_message(const rd_kafka_message_t& message) {
  if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    const auto at = assigned.find({rd_kafka_topic_name(message.rkt), message.partition});
    if (at == assigned.end()) return;
    at->second.eof = message.offset;
    last_progress_ms = clock.mono_ms();
    return;
  }
  if (message.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && message.rkt != nullptr) {
    return offset_gone(message);
  }
  if (message.err == RD_KAFKA_RESP_ERR__FATAL) {
    return on_error(RD_KAFKA_RESP_ERR__FATAL, rd_kafka_message_errstr(&message));
  }
  if (message.err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
    fatal = Error{Code::kConflict, fmt::format("kafka: fenced: another instance uses "
                                               "group.instance.id '{}'",
                                               settings.group_instance_id)};
    return;
  }
  say(rd_kafka_message_errstr(&message));
}

// False for a message that is not ours to hand out: its partition went, or (after a rebalance in
// the middle of a batch) it was handed out already and is fetched again.
bool KafkaSource::State::accept(const rd_kafka_message_t& message, RawBatch& out) {
  const TopicPartition where{rd_kafka_topic_name(message.rkt), message.partition};
  const auto at = assigned.find(where);
  if (at == assigned.end()) return false;
  Partition& partition = at->second;
  if (partition.next >= 0 && message.offset < partition.next) return false;
  const std::int64_t first = partition.next >= 0 ? partition.next : message.offset;
  partition.next = message.offset + 1;
  handed_out[where] = partition.next;
  auto range = std::find_if(out.ranges.begin(), out.ranges.end(), [&](const OffsetRange& r) {
    return r.partition == where.partition && r.topic == where.topic;
  });
  if (range == out.ranges.end()) {
    out.ranges.push_back({where.topic, where.partition, first, message.offset});
  } else {
    range->last = message.offset;
  }
  RawMessage raw;
  raw.topic = partition.topic;
  raw.partition = message.partition;
  raw.offset = message.offset;
  raw.timestamp_ms = rd_kafka_message_timestamp(&message, nullptr);
  raw.key = {static_cast<const char*>(message.key), message.key_len};
  raw.payload = {static_cast<const char*>(message.payload), message.len};
  raw.native = &message;
  out.messages.push_back(raw);
  return true;
}

void KafkaSource::State::collect(RawBatch& out) {
  for (std::size_t i = 0; i < message_count; ++i) {
    const rd_kafka_message_t& message = *messages[i];
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      handle_error_message(message);
    } else if (!blocked && !paused) {
      (void)accept(message, out);
    }
  }
  std::sort(out.ranges.begin(), out.ranges.end(), [](const auto& a, const auto& b) {
    return std::tie(a.topic, a.partition) < std::tie(b.topic, b.partition);
  });
}

PartitionList KafkaSource::State::progress_to_tell() {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(assigned.size())));
  for (auto& [where, partition] : assigned) {
    const auto next = book.next(where);
    if (!next || *next == partition.told) continue;
    partition.told = *next;
    rd_kafka_topic_partition_list_add(list.get(), where.topic.c_str(), where.partition)->offset =
        *next;
  }
  return list;
}

void KafkaSource::State::tell_broker() {
  const std::int64_t now = clock.mono_ms();
  if (now - last_commit_ms < kCommitEveryMs) return;
  last_commit_ms = now;
  const PartitionList progress = progress_to_tell();
  if (progress->cnt > 0) rd_kafka_commit(consumer, progress.get(), 1);
}

Status KafkaSource::State::watchdog(std::int64_t now_ms) {
  if (blocked || paused || assigned.empty() || !broker_up || settings.no_progress_ms <= 0) {
    last_progress_ms = now_ms;
    return {};
  }
  std::int64_t behind = 0;
  for (const auto& [where, partition] : assigned) behind += partition.lag();
  if (behind == 0) {
    last_progress_ms = now_ms;
    return {};
  }
  if (now_ms - last_progress_ms < settings.no_progress_ms) return {};
  const std::string what = fmt::format("{} messages behind, none received for {} s", behind,
                                       (now_ms - last_progress_ms) / 1000);
  if (rebuilt) {
    set_state(SourceState::kFailed, what);
    return fail(Code::kUnavailable, "kafka: " + what + ", also by a new consumer");
  }
  set_state(SourceState::kStalled, what + ": building a new consumer");
  rebuilt = true;
  destroy();
  assigned.clear();
  handed_out.clear();
  assignment_known = false;
  return create();
}

Result<std::unique_ptr<KafkaSource>> KafkaSource::open(const config::KafkaSettings& settings,
                                                       std::vector<std::string> topics,
                                                       OffsetBook& book, Clock& clock,
                                                       Metrics& metrics, int member,
                                                       std::shared_ptr<OurConsumers> ours) {
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  if (topics.empty()) return fail(Code::kInvalid, "kafka.topics: no topic to read");
  auto state = std::make_unique<State>(settings, std::move(topics), book, clock, metrics, member,
                                       std::move(ours));
  TRIMTAB_CHECK_OK(state->create());
  return std::unique_ptr<KafkaSource>(new KafkaSource(std::move(state)));
}

KafkaSource::KafkaSource(std::unique_ptr<State> state) : state_(std::move(state)) {}

KafkaSource::~KafkaSource() {
  if (state_->consumer == nullptr) return;
  if (const Status closed = close(state_->settings.close_deadline_ms); !closed) {
    log::warn("{}", closed.error().message);
  }
}

Status KafkaSource::poll(RawBatch& out) {
  State& s = *state_;
  CHECK(s.consumer != nullptr, "poll of a closed source");
  s.free_messages();
  out.messages.clear();
  out.ranges.clear();
  const ssize_t count = rd_kafka_consume_batch_queue(
      s.queue, static_cast<int>(s.settings.batch_wait_ms), s.messages.data(), s.messages.size());
  s.message_count = count > 0 ? static_cast<std::size_t>(count) : 0;
  const std::int64_t now = s.clock.mono_ms();
  const bool foreign = s.status.state == SourceState::kForeignMember;  // only this thread writes
  if (s.check_group || (foreign && now - s.last_group_check_ms >= kGroupCheckMs)) {
    if (s.assignment_known || foreign) s.examine_group();
  }
  if (s.check_group) {
    s.blocked = true;  // the group is not known yet: hand nothing out
    if (!s.assigned.empty()) s.set_fetching(false);
  }
  s.collect(out);
  TRIMTAB_CHECK_OK(s.check_fatal());
  if (s.reseek.exchange(false) && !foreign) s.refetch_from_book();
  if (!out.messages.empty()) {
    s.last_progress_ms = now;
    s.rebuilt = false;
  }
  {
    std::lock_guard lock(s.mutex);
    s.status.last_poll_mono_ms = now;
    if (!out.messages.empty()) s.status.last_batch_mono_ms = now;
  }
  s.tell_broker();
  return s.watchdog(now);
}

void KafkaSource::release() { state_->free_messages(); }

void KafkaSource::pause() {
  State& s = *state_;
  if (s.paused) return;
  s.paused = true;
  s.set_fetching(false);
  if (s.status.state == SourceState::kRunning) s.set_state(SourceState::kBackpressure, "");
}

void KafkaSource::resume() {
  State& s = *state_;
  if (!s.paused) return;
  s.paused = false;
  if (!s.blocked) s.set_fetching(true);
  if (s.status.state == SourceState::kBackpressure) s.set_state(SourceState::kRunning, "");
}

SourceStatus KafkaSource::status() const {
  std::lock_guard lock(state_->mutex);
  return state_->status;
}

const std::vector<std::string>& KafkaSource::topics() const { return state_->topics; }

Result<std::pair<std::int64_t, std::int64_t>> KafkaSource::watermarks(
    const TopicPartition& where, std::int64_t timeout_ms) const {
  std::int64_t low = 0;
  std::int64_t high = 0;
  const auto error =
      rd_kafka_query_watermark_offsets(state_->consumer, where.topic.c_str(), where.partition, &low,
                                       &high, static_cast<int>(timeout_ms));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kUnavailable, fmt::format("kafka: offsets of {}/{}: {}", where.topic,
                                                where.partition, rd_kafka_err2str(error)));
  }
  return std::pair{low, high};
}

void KafkaSource::request_reseek() { state_->reseek = true; }

Status KafkaSource::close(std::int64_t deadline_ms) {
  State& s = *state_;
  if (s.consumer == nullptr) return {};
  const std::int64_t start = s.clock.mono_ms();
  s.free_messages();
  s.closing = true;
  rd_kafka_error_t* error = rd_kafka_consumer_close_queue(s.consumer, s.queue);
  Status closed;
  if (error != nullptr) {
    closed = fail(Code::kInternal, std::string("kafka: close: ") + rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
  }
  while (closed && rd_kafka_consumer_closed(s.consumer) == 0) {
    const ssize_t count =
        rd_kafka_consume_batch_queue(s.queue, 50, s.messages.data(), s.messages.size());
    s.message_count = count > 0 ? static_cast<std::size_t>(count) : 0;
    s.free_messages();
    if (s.clock.mono_ms() - start > deadline_ms) {
      closed = fail(Code::kTimeout, fmt::format("kafka: the group was not left within {} ms; it "
                                                "will notice by the session time-out",
                                                deadline_ms));
    }
  }
  s.destroy();
  s.set_state(SourceState::kClosed, "");
  return closed;
}

}  // namespace trimtab::daemon
