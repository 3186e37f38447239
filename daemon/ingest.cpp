#include "daemon/ingest.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/log.h"
#include "daemon/dead_letters.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kQueuePatienceMs = 500;  // a full queue for so long: pause the partitions
constexpr std::int64_t kFlushMs = 1'000;        // one try at the dead letters, between polls

}  // namespace

// One thread with a consumer of its own.
class Ingest::Reader {
 public:
  Options options;
  const int member;
  BatchQueue& queue;
  BatchPool& pool;
  Clock& clock;
  std::unique_ptr<KafkaSource> source;
  std::unique_ptr<DeadLetters> dead;
  RecordCodec codec;
  Counter& bytes;
  Counter& rejected;

  std::unique_ptr<RecordBatch> held;  // decoded, not yet in the queue
  std::uint64_t held_rebalances = 0;
  bool letters_pending = false;
  std::uint64_t batches = 0;
  std::atomic<std::uint64_t> turns{0};
  std::atomic<bool> on_hold{false};
  log::RateLimit lines{6};

  mutable std::mutex mutex;  // guards failure
  Status failure;
  std::jthread thread;

  Reader(Options o, int which, BatchQueue& q, BatchPool& p, Clock& c, RecordCodec k, Metrics& m)
      : options(std::move(o)),
        member(which),
        queue(q),
        pool(p),
        clock(c),
        codec(std::move(k)),
        bytes(m.counter("trimtab_record_bytes_total", "Bytes of messages received").with()),
        // The other results are control's to tell.
        rejected(m.counter("trimtab_records_total", "Records, by what became of them",
                           {"target", "result"})
                     .with({"", "dead_letter"})) {}

  void run(std::stop_token stop);
  Status turn(RawBatch& raw, std::stop_token stop);
  Status decode(const RawBatch& raw, std::stop_token stop);
  bool deliver(std::stop_token stop);
  void drop_stale();
};

Status Ingest::Reader::decode(const RawBatch& raw, std::stop_token stop) {
  held = pool.take();
  held->number = ++batches;
  if (held->topics.empty()) held->topics = source->topics();
  held->ranges = raw.ranges;
  held_rebalances = source->status().rebalances;
  const std::int64_t now = clock.now_ms();
  double sum = 0;
  for (const RawMessage& message : raw.messages) {
    sum += static_cast<double>(message.payload.size());
    Decoded decoded = codec.decode(message.payload, message.timestamp_ms, now, held->arena);
    if (const auto* letter = std::get_if<DeadLetter>(&decoded)) {
      rejected.add();
      letters_pending = true;
      const bool route = letter->reason == DeadReason::kUnknownTarget;
      // A full local queue: what was added so far is flushed before this batch may go on.
      while (true) {
        const Status added =
            dead->add(message, held->topics[message.topic], *letter, route ? "route" : "decode");
        if (added) break;
        if (stop.stop_requested()) return added;
        log::error("{}", added.error().message);
      }
    }
    held->records.push_back(
        {Origin{message.topic, message.partition, message.offset, message.timestamp_ms},
         std::move(decoded)});
  }
  bytes.add(sum);
  source->release();  // one retained message would pin its whole receive buffer
  if (options.prepare) options.prepare(*held);
  return {};
}

// Partitions were taken and given back meanwhile: the source reads from the committed offsets
// again, so what is held back here comes a second time.
void Ingest::Reader::drop_stale() {
  if (held && source->status().rebalances != held_rebalances) pool.give_back(std::move(held));
}

// True when nothing is held any more.
bool Ingest::Reader::deliver(std::stop_token stop) {
  if (!held) return true;
  if (letters_pending) {
    const Status flushed = dead->flush(kFlushMs);
    if (!flushed) {
      std::uint64_t held_back = 0;
      if (lines.allow(clock.mono_ms(), held_back)) {
        log::error("{}{}", flushed.error().message, log::not_shown(held_back));
      }
      return false;
    }
    letters_pending = false;
  }
  if (on_hold) return false;
  const std::int64_t deadline = clock.mono_ms() + kQueuePatienceMs;
  for (;;) {
    if (queue.try_push(std::move(held))) return true;
    if (stop.stop_requested() || clock.mono_ms() >= deadline) return false;
    clock.sleep_ms(2, stop);
  }
}

Status Ingest::Reader::turn(RawBatch& raw, std::stop_token stop) {
  TRIMTAB_CHECK_OK(source->poll(raw));
  drop_stale();
  if (!raw.messages.empty()) TRIMTAB_CHECK_OK(decode(raw, stop));
  if (deliver(stop)) {
    source->resume();
  } else {
    source->pause();  // polls go on, so that the group keeps us
  }
  return {};
}

void Ingest::Reader::run(std::stop_token stop) {
  pthread_setname_np(pthread_self(), ("ingest-" + std::to_string(member)).c_str());
  RawBatch raw;
  while (!stop.stop_requested()) {
    const Status done = turn(raw, stop);
    ++turns;
    if (!done) {
      log::error("ingest stops: {}", done.error().message);
      std::lock_guard lock(mutex);
      failure = done;
      return;
    }
  }
}

Result<std::unique_ptr<Ingest>> Ingest::create(Options options, OffsetBook& book, BatchQueue& queue,
                                               BatchPool& pool, Clock& clock, Metrics& metrics) {
  const config::KafkaSettings kafka = options.kafka;
  const auto ours = std::make_shared<OurConsumers>();
  std::vector<std::unique_ptr<Reader>> readers;
  const int threads = static_cast<int>(std::max<std::int64_t>(1, options.ingest.threads));
  for (int member = 0; member < threads; ++member) {
    TRIMTAB_TRY(auto codec, RecordCodec::create(options.ingest, options.targets));
    for (const auto& [target, pointers] : options.pointers) {
      TRIMTAB_CHECK_OK(codec.set_pointers(target, pointers));
    }
    auto reader =
        std::make_unique<Reader>(options, member, queue, pool, clock, std::move(codec), metrics);
    TRIMTAB_TRY(reader->source,
                KafkaSource::open(kafka, {kafka.topics.records, kafka.topics.feedback}, book, clock,
                                  metrics, member, ours));
    TRIMTAB_TRY(reader->dead, DeadLetters::open(kafka, clock, metrics));
    readers.push_back(std::move(reader));
  }
  return std::unique_ptr<Ingest>(new Ingest(std::move(readers)));
}

Ingest::Ingest(std::vector<std::unique_ptr<Reader>> readers) : readers_(std::move(readers)) {}

Ingest::~Ingest() {
  if (const Status stopped = stop(readers_.front()->options.kafka.close_deadline_ms); !stopped) {
    log::warn("{}", stopped.error().message);
  }
}

void Ingest::start() {
  for (auto& reader : readers_) {
    reader->thread =
        std::jthread([one = reader.get()](std::stop_token stop) { one->run(std::move(stop)); });
  }
}

Status Ingest::stop(std::int64_t deadline_ms) {
  for (auto& reader : readers_) reader->thread.request_stop();
  Status all;
  for (auto& reader : readers_) {
    if (reader->thread.joinable()) reader->thread.join();
    if (auto closed = reader->source->close(deadline_ms); !closed && all) all = closed;
  }
  return all;
}

SourceStatus Ingest::status() const {
  // What a person should hear of first.
  static constexpr std::array<SourceState, 9> kUrgent = {
      SourceState::kFenced,       SourceState::kFailed,        SourceState::kOffsetGone,
      SourceState::kStalled,      SourceState::kForeignMember, SourceState::kStarting,
      SourceState::kBackpressure, SourceState::kRunning,       SourceState::kClosed};
  const auto rank = [](SourceState state) {
    return std::find(kUrgent.begin(), kUrgent.end(), state) - kUrgent.begin();
  };
  SourceStatus all = readers_.front()->source->status();
  for (std::size_t i = 1; i < readers_.size(); ++i) {
    SourceStatus one = readers_[i]->source->status();
    one.rebalances += all.rebalances;
    one.assigned.insert(one.assigned.end(), all.assigned.begin(), all.assigned.end());
    for (const auto& [where, behind] : all.lag) one.lag[where] = behind;
    one.last_batch_mono_ms = std::max(one.last_batch_mono_ms, all.last_batch_mono_ms);
    one.last_poll_mono_ms = std::min(one.last_poll_mono_ms, all.last_poll_mono_ms);
    if (rank(all.state) <= rank(one.state)) {
      one.state = all.state;
      one.detail = all.detail;
      one.gone = all.gone;
      one.gone_offset = all.gone_offset;
      one.log_start = all.log_start;
      one.log_end = all.log_end;
    }
    all = std::move(one);
  }
  return all;
}

Status Ingest::failure() const {
  for (const auto& reader : readers_) {
    std::lock_guard lock(reader->mutex);
    if (!reader->failure) return reader->failure;
  }
  return {};
}

std::uint64_t Ingest::turns() const {
  std::uint64_t slowest = readers_.front()->turns;
  for (const auto& reader : readers_) slowest = std::min<std::uint64_t>(slowest, reader->turns);
  return slowest;
}

Result<std::pair<std::int64_t, std::int64_t>> Ingest::watermarks(const TopicPartition& where,
                                                                 std::int64_t timeout_ms) const {
  return readers_.front()->source->watermarks(where, timeout_ms);
}

void Ingest::request_reseek() {
  for (auto& reader : readers_) reader->source->request_reseek();
}

void Ingest::hold(bool on) {
  for (auto& reader : readers_) reader->on_hold = on;
}

}  // namespace trimtab::daemon
