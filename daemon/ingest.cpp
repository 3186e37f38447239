#include "daemon/ingest.h"

#include <pthread.h>

#include <chrono>

#include "base/log.h"
#include "daemon/dead_letters.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kQueuePatienceMs = 500;  // a full queue for so long: pause the partitions
constexpr std::int64_t kFlushMs = 1'000;        // one try at the dead letters, between polls

}  // namespace

struct Ingest::State {
  Options options;
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

  State(Options o, BatchQueue& q, BatchPool& p, Clock& c, RecordCodec k, Metrics& m)
      : options(std::move(o)),
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

Status Ingest::State::decode(const RawBatch& raw, std::stop_token stop) {
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
void Ingest::State::drop_stale() {
  if (held && source->status().rebalances != held_rebalances) pool.give_back(std::move(held));
}

// True when nothing is held any more.
bool Ingest::State::deliver(std::stop_token stop) {
  if (!held) return true;
  if (letters_pending) {
    const Status flushed = dead->flush(kFlushMs);
    if (!flushed) {
      std::uint64_t held_back = 0;
      if (lines.allow(clock.mono_ms(), held_back)) log::error("{}", flushed.error().message);
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

Status Ingest::State::turn(RawBatch& raw, std::stop_token stop) {
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

void Ingest::State::run(std::stop_token stop) {
  pthread_setname_np(pthread_self(), "ingest");
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
  TRIMTAB_TRY(auto codec, RecordCodec::create(options.ingest, options.targets));
  for (const auto& [target, pointers] : options.pointers) {
    TRIMTAB_CHECK_OK(codec.set_pointers(target, pointers));
  }
  auto state =
      std::make_unique<State>(std::move(options), queue, pool, clock, std::move(codec), metrics);
  const config::KafkaSettings& kafka = state->options.kafka;
  TRIMTAB_TRY(state->source, KafkaSource::open(kafka, {kafka.topics.records, kafka.topics.feedback},
                                               book, clock, metrics));
  TRIMTAB_TRY(state->dead, DeadLetters::open(kafka, clock, metrics));
  return std::unique_ptr<Ingest>(new Ingest(std::move(state)));
}

Ingest::Ingest(std::unique_ptr<State> state) : state_(std::move(state)) {}

Ingest::~Ingest() {
  if (const Status stopped = stop(state_->options.kafka.close_deadline_ms); !stopped) {
    log::warn("{}", stopped.error().message);
  }
}

void Ingest::start() {
  state_->thread = std::jthread([this](std::stop_token stop) { state_->run(stop); });
}

Status Ingest::stop(std::int64_t deadline_ms) {
  if (state_->thread.joinable()) {
    state_->thread.request_stop();
    state_->thread.join();
  }
  return state_->source->close(deadline_ms);
}

SourceStatus Ingest::status() const { return state_->source->status(); }

Status Ingest::failure() const {
  std::lock_guard lock(state_->mutex);
  return state_->failure;
}

std::uint64_t Ingest::turns() const { return state_->turns; }
KafkaSource& Ingest::source() { return *state_->source; }
void Ingest::hold(bool on) { state_->on_hold = on; }

}  // namespace trimtab::daemon
