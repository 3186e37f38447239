// RecordCodec: bytes -> InferenceRecord | Feedback | DeadLetter, in one pass with simdjson.
//
// Mappings (RECORDS.md section 2): canonical, OpenTelemetry GenAI, LiteLLM, Langfuse, and one's own
// JSON pointers on top of any of them. Text is validated as UTF-8, size and depth are bounded, and
// no exception leaves. Bad input is a value (DeadLetter), never an error.
// Thread-safety: one codec a thread; it keeps the parser's buffers. No allocation in steady state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record.h"
#include "daemon/record_batch.h"
#include "daemon/text_arena.h"

namespace trimtab::daemon {

class RecordCodec {
 public:
  // `targets`: the configured names; a record of another target is dead-lettered by name.
  // kInvalid when a pointer of settings.pointers is not a JSON pointer or names no known field.
  [[nodiscard]] static Result<RecordCodec> create(const config::IngestSettings& settings,
                                                  std::vector<std::string> targets);
  RecordCodec(RecordCodec&&) noexcept;
  RecordCodec& operator=(RecordCodec&&) noexcept;
  ~RecordCodec();

  // The JSON pointers into the raw record whose values records of `target` carry
  // (drift::SignalExtractor::pointers()). kInvalid for an unknown target or a malformed pointer.
  [[nodiscard]] Status set_pointers(const std::string& target, std::vector<std::string> pointers);

  // One message. The result's views live in `arena`. `kafka_ms`: the message's own time, taken
  // where the record has none or one that lies more than the tolerance ahead of `now_ms`.
  [[nodiscard]] Decoded decode(std::string_view message, std::int64_t kafka_ms, std::int64_t now_ms,
                               TextArena& arena);

  // The same without the short way (record_scan.h), for the tests that compare the two.
  [[nodiscard]] Decoded decode_by_tree(std::string_view message, std::int64_t kafka_ms,
                                       std::int64_t now_ms, TextArena& arena);

  // A body of POST /api/v1/records or /feedback: a JSON array or NDJSON, each element decoded into
  // `batch.records`. `default_kind` is "inference" or "feedback". kInvalid when the body as a whole
  // is neither; elements that are bad on their own become DeadLetters with their index in
  // origin.offset.
  [[nodiscard]] Status decode_body(std::string_view body, std::string_view default_kind,
                                   std::int64_t now_ms, RecordBatch& batch);

 private:
  struct State;
  explicit RecordCodec(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What drift's signals need of a record; `number` is the daemon's running number of it.
[[nodiscard]] drift::RecordView to_drift_view(const InferenceRecord& record, std::uint64_t number);

}  // namespace trimtab::daemon
