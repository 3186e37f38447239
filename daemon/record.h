// What one Kafka message (or one element of POST /api/v1/records) means: an inference record, a
// piece of feedback, or a dead letter (RECORDS.md sections 1 and 3).
//
// All texts are views into the batch's arena (record_batch.h): they live as long as the batch.
// Whoever needs one longer copies it. Plain values, no thread rules of their own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "drift/record_view.h"

namespace trimtab::daemon {

// Newest `schema` this program reads; a newer one is dead-lettered by name, older stay readable.
inline constexpr int kRecordSchema = 1;

// Where a record came from. Records posted over HTTP have partition -1.
struct Origin {
  std::uint16_t topic = 0;  // index into RecordBatch::topics
  std::int32_t partition = -1;
  std::int64_t offset = -1;
  std::int64_t kafka_ms = 0;  // the message's own timestamp, or the time of arrival over HTTP
};

// What the router attests to have served. Absent is not the bare base: an absent adapter is good
// for drift but is never counted in a trial.
enum class Served : std::uint8_t { kUnattested, kBase, kAdapter };

// Which clock gave `ts_ms`. kAhead: the record's own time lay too far in the future.
enum class TimeSource : std::uint8_t { kRecord, kAbsent, kAhead };

struct Turn {
  std::string_view role;
  std::string_view content;  // several content parts are joined by '\n'
};

struct Tokens {
  std::optional<std::int64_t> in, out, cache_r, cache_w, reason;
};

struct InferenceRecord {
  std::string_view id;
  std::int64_t ts_ms = 0;  // request start, event time, sane (RECORDS.md section 1)
  std::optional<std::int64_t> ts_end_ms;
  TimeSource time_source = TimeSource::kRecord;
  std::string_view target;  // always one of the configured targets
  std::string_view user_id, session_id, trace_id, tenant, route;
  std::string_view model_req, model, provider, op;
  Served served = Served::kUnattested;
  std::string_view adapter;  // only with Served::kAdapter
  std::string_view arm;
  std::optional<std::int64_t> generation;
  std::string_view experiment;
  std::span<const Turn> input;  // a plain string becomes one turn of role "user"
  std::string_view output;      // the completion's text
  std::string_view tool_calls;  // raw JSON array, empty when none
  Tokens tok;
  std::optional<double> latency_s, ttft_s, mean_logprob;
  std::span<const float> logprobs, embedding;
  std::string_view finish, status, error;
  std::string_view attributes;  // raw JSON object, empty when none
  // Values at the JSON pointers of its target's signals (RecordCodec::set_pointers), in order.
  std::span<const drift::PointerValue> pointers;
  std::uint32_t bytes = 0;  // size of the message

  // `op: probe`: routed like all, seen by no detector, pool or trial.
  [[nodiscard]] bool is_probe() const { return op == "probe"; }
  // `finish: aborted`: monitored, never trained on.
  [[nodiscard]] bool is_aborted() const { return finish == "aborted"; }
};

enum class LabelSource : std::uint8_t { kHuman, kJudge, kRule };
// Was the label asked for independently of the answer (kRandom), or did somebody complain (kUser)?
enum class Selection : std::uint8_t { kUser, kRandom, kJudge };

struct Feedback {
  // The upsert key, newest `ts` wins. Derived from record, name and source where it was absent.
  std::string_view feedback_id;
  std::string_view record_id;  // or empty: joined by trace_id
  std::string_view trace_id;
  std::string_view target;  // empty until joined, unless the message names it
  std::string_view name;
  std::optional<double> score;  // as sent: 0..1 or -1/0/1
  std::string_view label;
  std::string_view correction;  // the right output
  LabelSource source = LabelSource::kHuman;
  std::string_view source_id;
  Selection selection = Selection::kUser;
  std::optional<double> propensity;
  std::int64_t ts_ms = 0;
  TimeSource time_source = TimeSource::kRecord;
  std::uint32_t bytes = 0;
};

// Every reason is a value of the metric's label `reason` and of the dead letter's header.
enum class DeadReason : std::uint8_t {
  kNotJson,
  kNotUtf8,
  kTooLarge,
  kTooDeep,
  kMissingId,
  kUnknownTarget,
  kUnknownKind,
  kBadType,
  kBadTime,
  kNonFinite,
  kOutOfRange,
  kNewerSchema,
  kEmpty,
};
inline constexpr int kDeadReasons = 13;
// "not_json" and so on: stable names.
[[nodiscard]] std::string_view dead_reason_name(DeadReason reason);

struct DeadLetter {
  DeadReason reason = DeadReason::kNotJson;
  std::string_view message;  // one line: which field, what was wrong
  std::uint32_t bytes = 0;
};

using Decoded = std::variant<InferenceRecord, Feedback, DeadLetter>;

[[nodiscard]] std::string_view label_source_name(LabelSource source);
[[nodiscard]] std::string_view selection_name(Selection selection);
// -1/0/1 and 0..1 on one scale: -1 counts as 0, all else as it is (so 0 is bad on either scale).
// nullopt without a score.
[[nodiscard]] std::optional<double> unit_score(const Feedback& feedback);

}  // namespace trimtab::daemon
