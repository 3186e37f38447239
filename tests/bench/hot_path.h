// The hot path as the daemon runs it, from a message's bytes to the verdict: decode, extract,
// observe, harm. With the 20 signals of the evidence issue: 8 numeric, 6 categorical, 4 text
// descriptors, harm, and the hashed-text embedding on a share of the records. For the bench and for
// the test that counts allocations.
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/random.h"
#include "daemon/record_codec.h"
#include "drift/monitor.h"

namespace trimtab::bench {

inline constexpr std::int64_t kNowMs = 1'763'859'100'000;

// A record of about `bytes` bytes; independent of the others, the same for the same n.
inline std::string record_json(std::uint64_t n, std::size_t bytes) {
  static constexpr std::array<std::string_view, 40> kWords = {
      "please",  "tell",     "me",      "how",     "I",     "can",
      "move",    "money,",   "from",    "savings", "to",    "the",
      "other",   "account",  "and",     "when",    "it",    "arrives",
      "today",   "tomorrow", "Thanks!", "order",   "4711",  "refund",
      "late",    "card",     "Visa",    "blocked", "why?",  "\xC3\xA9t\xC3\xA9",
      "invoice", "12.50",    "email",   "sent",    "again", "nothing",
      "works",   "since",    "Monday",  "help"};
  static constexpr std::array<std::string_view, 12> kLabels = {
      "transfer", "balance", "card_lost", "refund", "late", "invoice",
      "login",    "limits",  "fees",      "loan",   "cash", "other"};
  static constexpr std::array<std::string_view, 3> kFinish = {"stop", "length", "tool_calls"};
  Random random(n * 2 + 1);
  // Of one width, else the texts would grow shorter as n grows: a drift.
  const std::string serial = std::to_string(10'000'000 + n);
  const auto number = [&](double value) { return std::to_string(value); };
  const auto in = static_cast<int>(100 + 40 * std::fabs(random.normal()));
  const auto out = static_cast<int>(4 + 3 * std::fabs(random.normal()));
  std::string json =
      R"({"kind":"inference","schema":1,"id":"req-)" + serial + R"(","ts":)" +
      std::to_string(kNowMs - 100'000'000 + static_cast<std::int64_t>(n) * 100) +
      R"(,"target":"bot","user_id":"user-)" + std::to_string(n % 997) + R"(","session_id":"s-)" +
      serial + R"(","tenant":"tenant-)" + std::to_string(random.below(16)) +
      R"(","route":"/chat/)" + std::to_string(random.below(4)) +
      R"(","model_req":"bot","model":")" + (random.chance(0.1) ? "llama-3b" : "llama-3") +
      R"(","provider":"vllm","op":"chat",)" +
      R"("adapter":"bot-20260101T000000Z-abcdef12","arm":"champion","generation":12,"tok":{"in":)" +
      std::to_string(in) + R"(,"out":)" + std::to_string(out) + R"(},"latency_s":)" +
      number(std::exp(0.3 * random.normal())) + R"(,"ttft_s":)" +
      number(0.2 * std::exp(0.3 * random.normal())) + R"(,"mean_logprob":)" +
      number(-std::fabs(random.normal())) + R"(,"finish":")" +
      std::string(kFinish[random.chance(0.9) ? 0 : random.below(3)]) + R"(","status":")" +
      (random.chance(0.02) ? "error" : "ok") + R"(","attributes":{"plan":")" +
      (random.chance(0.3) ? "gold" : "free") + R"(","queue":"q)" + std::to_string(random.below(6)) +
      R"(","score":)" + number(random.uniform()) +
      R"(},"input":[{"role":"system","content":"You help."},{"role":"user","content":")";
  const std::size_t tail = 40;
  while (json.size() + tail < bytes) {
    json += kWords[random.below(kWords.size())];
    json += ' ';
  }
  json += R"("}],"output":")" + std::string(kLabels[random.below(kLabels.size())]) + R"("})";
  return json;
}

inline config::DriftSettings hot_settings(const std::string& segment_field, double embedding_rate) {
  config::DriftSettings settings;
  settings.reference_size = 1'000;
  settings.session_window_ms = 60'000;  // 600 records: opened and closed all the time
  settings.embedding_rate = embedding_rate;
  const auto add = [&](const char* source, const char* kind = "auto") {
    config::DriftSignalSettings signal;
    signal.source = source;
    signal.kind = kind;
    settings.signals.push_back(signal);
  };
  for (const char* name : {"latency_s", "ttft_s", "tokens_in", "tokens_out", "mean_logprob",
                           "input_chars", "output_chars"}) {
    add(name);
  }
  add("/attributes/score", "numeric");
  for (const char* name : {"output_label", "finish", "status", "model"}) add(name);
  add("/attributes/plan", "categorical");
  add("/attributes/queue", "categorical");
  for (const char* name : {"input_mean_word_length", "input_digit_share", "input_upper_share",
                           "input_punctuation_share"}) {
    add(name);
  }
  if (embedding_rate > 0.0) add("input_embedding");
  if (!segment_field.empty()) settings.segments = {segment_field};
  config::HarmMetricSettings error;
  error.name = "error";
  settings.harm = {error};
  return settings;
}

// One target's path. Not thread-safe.
class HotPath {
 public:
  explicit HotPath(const config::DriftSettings& settings)
      : codec_(*daemon::RecordCodec::create({}, {"bot"})),
        monitor_(*drift::Monitor::create(settings)) {
    static_cast<void>(codec_.set_pointers("bot", monitor_.extractor().pointers()));
  }

  [[nodiscard]] daemon::Decoded decode(std::string_view message) {
    return codec_.decode(message, kNowMs, kNowMs, arena_);
  }
  [[nodiscard]] bool extract(const daemon::InferenceRecord& record, drift::Observation& out) {
    return monitor_.extractor().extract(daemon::to_drift_view(record, ++number_), out);
  }
  // What the monitor is told of a record. Observations stay where they are until watch().
  void note(const drift::Observation& event) { inputs_.emplace_back().event = &event; }
  void note_outcome(const daemon::InferenceRecord& record) {
    drift::Outcome& outcome = inputs_.emplace_back().outcome;
    outcome.ts_ms = record.ts_ms;
    outcome.offset = number_;
    outcome.value = record.status == "error" ? 1.0 : 0.0;
    outcome.id.assign(record.id);
  }
  void watch() {
    monitor_.take(inputs_, alarms_);
    inputs_.clear();
    waiting_ = 0;
  }
  // All of it; false when the message is no record. The monitor takes many records at once, as the
  // daemon's does.
  bool take(std::string_view message) {
    const daemon::Decoded decoded = decode(message);
    const auto* record = std::get_if<daemon::InferenceRecord>(&decoded);
    drift::Observation& observation = observations_[waiting_];
    if (record == nullptr || !extract(*record, observation)) return false;
    note(observation);
    note_outcome(*record);
    if (++waiting_ == observations_.size()) watch();
    return true;
  }
  // As control does after each batch.
  void end_batch() {
    watch();
    arena_.reset();
  }

  // Feeds records from number `from` on until every segment is armed. Returns the next number.
  std::uint64_t warm_up(std::uint64_t from, std::size_t bytes, std::size_t segments) {
    std::uint64_t n = from;
    for (const std::uint64_t most = from + 1'200 * (segments + 2); n < most; ++n) {
      take(record_json(n, bytes));
      if (n % 100 == 0) end_batch();
    }
    end_batch();
    monitor_.tick(kNowMs);
    return n;
  }
  [[nodiscard]] drift::Monitor& monitor() { return monitor_; }
  [[nodiscard]] std::uint64_t alarms() const { return alarms_.size(); }
  // Signals of all segments that are armed.
  [[nodiscard]] std::size_t armed() const {
    std::size_t count = 0;
    for (const auto& signal : monitor_.status().signals) count += signal.state == "armed" ? 1 : 0;
    return count;
  }

 private:
  daemon::RecordCodec codec_;
  daemon::TextArena arena_;
  drift::Monitor monitor_;
  std::vector<drift::Observation> observations_ = std::vector<drift::Observation>(128);
  std::size_t waiting_ = 0;  // of observations_
  std::vector<drift::MonitorInput> inputs_;
  std::uint64_t number_ = 0;
  std::vector<drift::RaisedAlarm> alarms_;
};

}  // namespace trimtab::bench
