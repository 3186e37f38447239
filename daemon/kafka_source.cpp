// The poll loop, rebalances and pauses. See the header for the contract.
// Longer than the usual file: it is one state machine over one consumer handle, and its callbacks
// share all of that state.
#include "daemon/kafka_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/log.h"
#include "daemon/kafka_client.h"

namespace trimtab::daemon {
namespace {

constexpr int kAskMs = 5'000;               // patience with one question to the cluster
constexpr std::int64_t kRevokeWaitMs = 10'000;  // for what was handed out, before giving up
constexpr std::int64_t kCommitEveryMs = 5'000;  // to the broker, only to show lag
constexpr std::int64_t kGroupCheckMs = 2'000;   // while a foreign member is there

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

}  // namespace

struct KafkaSource::State {
  config::KafkaSettings settings;
  std::vector<std::string> topics;
  OffsetBook& book;
  Clock& clock;
  rd_kafka_t* consumer = nullptr;
  rd_kafka_queue_t* queue = nullptr;

  // The poll thread's own.
  std::map<TopicPartition, Partition> assigned;
  std::map<TopicPartition, std::int64_t> handed_out;
  std::vector<rd_kafka_message_t*> messages;
  std::size_t message_count = 0;
  bool check_group = false;
  bool paused = false;       // by pause()
  bool blocked = false;      // foreign member or offset gone: nothing is handed out
  bool fetching = true;      // false: partitions are paused in the client
  bool broker_up = false;
  bool rebuilt = false;
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
        Metrics& m)
      : settings(s),
        topics(std::move(t)),
        book(b),
        clock(c),
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

Status KafkaSource::State::create() {
  const ConsumerCallbacks callbacks{
      [](rd_kafka_t*, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* partitions,
         void* opaque) {
        if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) return from(opaque).on_assign(partitions);
        from(opaque).on_revoke(partitions);
      },
      [](rd_kafka_t*, int code, const char* reason, void* opaque) {
        from(opaque).on_error(code, reason);
      },
      [](rd_kafka_t*, char* json, std::size_t size, void* opaque) {
        from(opaque).on_stats({json, size});
        return 0;  // the client frees the text
      }};
  TRIMTAB_TRY(consumer, new_consumer(settings, callbacks, this));
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
    log::warn("kafka: {} ({} lines not shown)", what, held_back);
  }
}

PartitionList KafkaSource::State::list_assigned(bool with_offsets) const {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(assigned.size())));
  for (const auto& [where, partition] : assigned) {
    auto* entry = rd_kafka_topic_partition_list_add(list.get(), where.topic.c_str(),
                                                    where.partition);
    if (with_offsets) entry->offset = partition.next;
  }
  return list;
}

// What SQLite says; a partition it has never seen begins at the configured end of a topic that is
// new to us, and at its beginning if the topic only grew.
std::int64_t KafkaSource::State::start_offset(const TopicPartition& where) const {
  if (const auto next = book.next(where)) return *next;
  const bool latest = settings.first_offset == config::OffsetReset::kLatest;
  return latest && !book.knows_topic(where.topic) ? RD_KAFKA_OFFSET_END
                                                  : RD_KAFKA_OFFSET_BEGINNING;
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
  check_group = true;
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
  if (!book.wait_for(handed_out, kRevokeWaitMs)) {
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
  set_state(SourceState::kStarting, "");
  publish();
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
  fatal = Error{Code::kInternal, fmt::format("kafka: fatal: {} ({})", why.data(),
                                             rd_kafka_err2name(original))};
}

Status KafkaSource::State::check_fatal() {
  if (!fatal) return {};
  set_state(fatal->code == Code::kConflict ? SourceState::kFenced : SourceState::kFailed,
            fatal->message);
  return tl::unexpected<Error>(*fatal);
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
    const auto missing = static_cast<std::int64_t>(existing->size()) -
                         static_cast<std::int64_t>(assigned.size());
    if (missing > 0) who = fmt::format("unknown, holds {} of {} partitions", missing,
                                       existing->size());
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
  return create();
}

Result<std::unique_ptr<KafkaSource>> KafkaSource::open(const config::KafkaSettings& settings,
                                                       std::vector<std::string> topics,
                                                       OffsetBook& book, Clock& clock,
                                                       Metrics& metrics) {
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  if (topics.empty()) return fail(Code::kInvalid, "kafka.topics: no topic to read");
  auto state = std::make_unique<State>(settings, std::move(topics), book, clock, metrics);
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
  const ssize_t count =
      rd_kafka_consume_batch_queue(s.queue, static_cast<int>(s.settings.batch_wait_ms),
                                   s.messages.data(), s.messages.size());
  s.message_count = count > 0 ? static_cast<std::size_t>(count) : 0;
  const std::int64_t now = s.clock.mono_ms();
  const bool foreign = s.status.state == SourceState::kForeignMember;  // only this thread writes
  if (s.check_group || (foreign && now - s.last_group_check_ms >= kGroupCheckMs)) {
    if (!s.assigned.empty() || foreign) s.examine_group();
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

Result<std::pair<std::int64_t, std::int64_t>> KafkaSource::watermarks(const TopicPartition& where,
                                                                      std::int64_t timeout_ms) const {
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
