#include "daemon/dead_letters.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/redaction.h"
#include "daemon/kafka_producer.h"

namespace trimtab::daemon {
namespace {

// The broker must take what it gave: as large as a message can be.
constexpr std::int64_t kMaxMessageBytes = 1'000'000'000;
// Give up on a letter that the broker does not take, and try it again from here.
constexpr std::int64_t kDeliveryMs = 30'000;
// What a broker takes as it is shipped (max.message.bytes is 1 MiB), headers included.
constexpr std::size_t kUsualBytes = 1'000'000;
constexpr std::size_t kLeastBytes = 1'000;
constexpr int kLinesPerMinute = 30;
constexpr std::string_view kPrefix = "__connect.errors.";
constexpr std::string_view kCutHeader = "trimtab.original.bytes";

struct Letter {
  std::string key, payload;
  std::vector<KafkaHeader> headers;

  void cut(std::size_t bytes) {
    if (payload.size() <= bytes) return;
    if (headers.empty() || headers.back().name != kCutHeader) {
      headers.push_back({std::string(kCutHeader), std::to_string(payload.size())});
    }
    payload.resize(bytes);
  }
};

}  // namespace

struct DeadLetters::State {
  config::KafkaSettings settings;
  Clock& clock;
  std::unique_ptr<KafkaProducer> producer;  // null in mode off
  std::vector<Letter> pending;              // not yet known to be acknowledged
  std::uint64_t failed_before = 0;
  std::uint64_t too_large_before = 0;
  std::uint64_t written = 0;
  log::RateLimit lines{kLinesPerMinute};
  Family<Counter>& counter;
  std::array<Counter*, kDeadReasons> by_reason{};

  // Smaller than the largest one that was refused: the usual limit first, then half by half.
  void cut_largest() {
    std::size_t largest = 0;
    for (const Letter& letter : pending) largest = std::max(largest, letter.payload.size());
    const std::size_t bytes = largest > kUsualBytes ? kUsualBytes - kUsualBytes / 20 : largest / 2;
    if (largest <= kLeastBytes) return;
    log::warn("dead-letter topic '{}' takes none of {} bytes: cut to {}",
              settings.topics.dead_letters, largest, bytes);
    for (Letter& letter : pending) letter.cut(bytes);
  }

  [[nodiscard]] bool send(const Letter& letter) const {
    return producer->send(settings.topics.dead_letters, letter.key, letter.payload, letter.headers);
  }
};

Result<std::unique_ptr<DeadLetters>> DeadLetters::open(const config::KafkaSettings& settings,
                                                       Clock& clock, Metrics& metrics) {
  auto& counter = metrics.counter("trimtab_dlq_records_total",
                                  "Messages that could not be used, by reason", {"reason"});
  auto state = std::make_unique<State>(
      State{settings, clock, {}, {}, 0, 0, 0, log::RateLimit(kLinesPerMinute), counter, {}});
  for (int reason = 0; reason < kDeadReasons; ++reason) {
    state->by_reason[static_cast<std::size_t>(reason)] =
        &counter.with({std::string(dead_reason_name(static_cast<DeadReason>(reason)))});
  }
  if (settings.dead_letters != config::DeadLetters::kOff) {
    KafkaProducerOptions options;
    options.connection = settings.connection;
    options.client_id = "trimtabd-dead-letters";
    options.max_message_bytes = kMaxMessageBytes;
    options.delivery_ms = kDeliveryMs;
    options.linger_ms = 5;
    TRIMTAB_TRY(state->producer, KafkaProducer::open(std::move(options)));
  }
  return std::unique_ptr<DeadLetters>(new DeadLetters(std::move(state)));
}

DeadLetters::DeadLetters(std::unique_ptr<State> state) : state_(std::move(state)) {}
DeadLetters::~DeadLetters() = default;

Status DeadLetters::add(const RawMessage& message, const std::string& topic,
                        const DeadLetter& letter, std::string_view stage) {
  State& s = *state_;
  const std::string reason(dead_reason_name(letter.reason));
  s.by_reason[static_cast<std::size_t>(letter.reason)]->add();
  std::uint64_t held_back = 0;
  if (s.lines.allow(s.clock.mono_ms(), held_back)) {
    log::warn("dead letter {}/{}@{}: {}: {}{}", topic, message.partition, message.offset, reason,
              letter.message, log::not_shown(held_back));
  }
  if (!s.producer) return {};
  const bool raw = s.settings.dead_letters == config::DeadLetters::kRaw;
  // Masked, the key goes too: it is often a user's id.
  Letter out{std::string(raw ? message.key : ""),
             raw ? std::string(message.payload) : redact(message.payload),
             {}};
  if (raw) {
    for (auto& [name, value] : message_headers(message)) {
      if (!name.starts_with(kPrefix)) out.headers.push_back({name, std::move(value)});
    }
  }
  const std::pair<std::string_view, std::string> about[] = {
      {"topic", topic},
      {"partition", std::to_string(message.partition)},
      {"offset", std::to_string(message.offset)},
      {"stage", std::string(stage)},
      {"exception.class.name", reason},
      {"exception.message", std::string(letter.message)},
      {"timestamp", std::to_string(message.timestamp_ms)}};
  for (const auto& [name, value] : about) {
    out.headers.push_back({std::string(kPrefix) + std::string(name), value});
  }
  if (!s.send(out)) {
    // The local queue is full: make room, then it must fit.
    TRIMTAB_CHECK_OK(flush(kDeliveryMs));
    if (!s.send(out)) {
      return fail(Code::kUnavailable, "dead-letter topic '" + s.settings.topics.dead_letters +
                                          "': cannot be written: " + s.producer->last_error());
    }
  }
  s.pending.push_back(std::move(out));
  return {};
}

Status DeadLetters::flush(std::int64_t timeout_ms) {
  State& s = *state_;
  if (s.pending.empty()) return {};
  const Status flushed = s.producer->flush(timeout_ms);
  const std::uint64_t failed = s.producer->counts().failed;
  if (flushed && failed == s.failed_before) {
    s.written += s.pending.size();
    s.pending.clear();
    return {};
  }
  const std::string said = s.producer->last_error();
  const std::string why = "dead-letter topic '" + s.settings.topics.dead_letters +
                          "': " + std::to_string(s.pending.size()) +
                          " letters wait: " + (said.empty() ? "the broker has not answered" : said);
  if (failed != s.failed_before && s.producer->counts().queued == 0) {
    // Which of them failed is not known; sending one twice is better than losing it.
    s.failed_before = failed;
    const std::uint64_t too_large = s.producer->counts().too_large;
    if (std::exchange(s.too_large_before, too_large) != too_large) s.cut_largest();
    for (const Letter& letter : s.pending) {
      if (!s.send(letter)) break;
    }
  }
  return fail(Code::kUnavailable, why);
}

std::uint64_t DeadLetters::written() const { return state_->written; }

}  // namespace trimtab::daemon
