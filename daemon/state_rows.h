// The rows of the daemon's one SQLite file, as plain values (state_store.h reads and writes them).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trimtab::daemon {

// A thing with an identity and a life: an alarm, a job, a trial, an adapter, a tombstone..
// `data` is JSON and belongs to whoever owns the kind. (kind, id) is the key.
struct Document {
  std::string kind;  // "alarm" | "job" | "trial" | "adapter" | "tombstone" | ..
  std::string id;
  std::string target;
  std::string state;
  std::string data;
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
  std::int64_t seq = 0;  // counts up over all documents: the order of creation; set by put()
};

// One line of the append-only journal (PROMOTION.md section 2).
struct Event {
  std::int64_t seq = 0;  // given by append
  std::int64_t ts_ms = 0;
  std::string actor;            // "control", "operator:NAME", "driver:NAME"
  std::string idempotency_key;  // unique when not empty
  std::string target;
  std::string kind;     // "transition" | "command" | "effect" | "input" | ..
  std::string subject;  // the alarm, job or trial it is about
  std::string from, to;
  std::int64_t generation = 0;
  std::string config_hash;
  std::string evidence;  // JSON or empty
  std::string reason;    // a stable word
  std::string message;   // one line for people
  std::string payload;   // JSON or empty
};

enum class IntentState { kPending, kApplied, kFailed };

// A side effect that was decided but is not known to have happened: INTENT -> call -> APPLIED.
struct Intent {
  std::int64_t id = 0;  // given by add
  std::string key;      // idempotent: adding the same key again is the same intent
  std::string target, kind, subject;
  std::string payload;  // JSON
  IntentState state = IntentState::kPending;
  std::int64_t attempts = 0;
  std::int64_t created_ms = 0, updated_ms = 0;
  std::string result;  // JSON or a message, once applied or failed
};

// Where the text of a stored record lies (record_store.h).
struct TextPosition {
  std::int64_t segment = 0;  // 0: not stored
  std::int64_t block = 0;    // byte offset of its block in the segment
  std::int64_t start = 0;    // byte offset inside the uncompressed block
  std::int64_t size = 0;
  [[nodiscard]] bool stored() const { return segment != 0; }
  auto operator<=>(const TextPosition&) const = default;
};

// The index entry of a stored record: what pools, samplers and the join need without its text.
struct RecordRow {
  std::int64_t row = 0;  // given by add
  std::string target, id, trace_id;
  std::int64_t ts_ms = 0;
  std::string topic;  // where it came from; empty over HTTP
  std::int32_t partition = -1;
  std::int64_t offset = -1;
  std::uint64_t user_hash = 0, session_hash = 0;  // 0: had none. For erasure and units
  std::uint64_t unit_hash = 0;
  bool eval = false;     // an evaluation unit: never trained on
  bool aborted = false;  // finish: aborted: never trained on
  std::string tenant, route;
  bool attested = false;  // `adapter` was present, null included
  std::string adapter;    // empty = the bare base (when attested)
  std::string arm;
  std::int64_t generation = 0;
  std::string experiment;
  TextPosition text;
};

// One piece of feedback, joined or waiting.
struct FeedbackRow {
  std::string feedback_id;
  std::string target;  // empty until joined, unless the message named it
  std::string record_id, trace_id;
  std::int64_t record_row = 0;  // 0: waits for its record
  std::string name;
  std::optional<double> score;  // on the 0..1 scale
  std::string label, correction;
  std::string source, source_id;
  std::string selection;  // user | random | judge
  std::optional<double> propensity;
  std::int64_t ts_ms = 0;
  std::int64_t arrived_ms = 0;
  bool quarantined = false;
};

// A feedback with the record it belongs to: what samplers and pools draw from.
struct LabelRow {
  FeedbackRow feedback;
  RecordRow record;
};

struct LabelQuery {
  std::string target;
  std::optional<std::int64_t> since_ms, until_ms;  // of the record, [since, until)
  std::optional<bool> eval;
  std::optional<bool> quarantined;
  std::string selection;         // empty: any
  bool with_correction = false;  // only those that carry the right output
  std::string name;              // empty: any
  bool narrow = false;           // a short span of event time: found by its index
  std::int64_t after_row = 0;    // page on: only records with a larger row
  std::int64_t limit = 10'000;   // rows, in (record row, feedback id) order
};

// A label that carries the right output, without its text.
struct CorrectionRow {
  std::int64_t record_ms = 0, feedback_ms = 0;
  std::string source_id, selection;
};

struct RecordQuery {
  std::string target;
  std::optional<std::int64_t> since_ms, until_ms;
  std::optional<bool> eval;
  bool narrow = false;  // a short span of event time: found by its index
  std::int64_t after_row = 0;
  std::int64_t limit = 1'000;
  bool newest_first = false;
};

// An input or a piece of evidence that a decision used: pairs, closed units, offset ranges.
struct DecisionRow {
  std::string subject;   // "trial-3", "al-1", ..
  std::string stream;    // "pairs", "units", "inputs", ..
  std::int64_t seq = 0;  // counts up within (subject, stream); given by append
  std::string data;      // JSON
};

struct Segment {
  std::int64_t segment = 0;
  std::int64_t bytes = 0;  // committed length of the file
  std::int64_t records = 0;
  std::int64_t first_ms = 0, last_ms = 0;  // of arrival
  bool closed = false;
};

struct EventQuery {
  std::int64_t after_seq = 0;
  std::string target, subject, kind;  // empty: any
  std::int64_t limit = 1'000;
  bool newest_first = false;
};

// What a retention pass removes. 0 / negative: leave that kind alone.
struct Retention {
  std::int64_t events_before_ms = 0;
  std::int64_t decisions_kept_subjects = 0;  // newest so many subjects keep their rows
  std::int64_t intents_before_ms = 0;        // applied or failed ones only
  std::int64_t unjoined_feedback_before_ms = 0;
};

}  // namespace trimtab::daemon
