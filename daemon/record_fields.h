// The step between JSON and InferenceRecord / Feedback: a mapping finds elements for fields, the
// builder checks types and bounds and fills the record. Private to record_codec and its mappings.
#pragma once

#include <simdjson.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record.h"
#include "daemon/text_arena.h"

namespace trimtab::daemon {

using Element = simdjson::dom::element;

// An id, a name or a label: long enough for any real one, short enough to be a key.
inline constexpr std::size_t kMaxNameBytes = 1024;

// Every field of RECORDS.md section 1, inference and feedback together.
// clang-format off
enum class Field : std::uint8_t {
  kKind, kSchema, kId, kTs, kTsEnd, kTarget, kUserId, kSessionId, kTraceId, kTenant, kRoute,
  kModelReq, kModel, kProvider, kOp, kAdapter, kArm, kGeneration, kExperiment, kInput, kOutput,
  kTok, kTokIn, kTokOut, kTokCacheR, kTokCacheW, kTokReason, kLatency, kTtft, kMeanLogprob,
  kLogprobs, kEmbedding, kFinish, kStatus, kError, kAttributes, kSystem, kToolCalls,
  kFeedbackId, kName, kScore, kLabel, kCorrection, kSource, kSourceId, kSelection, kPropensity,
  kNone,
};
// clang-format on
inline constexpr std::size_t kFields = static_cast<std::size_t>(Field::kNone);

// "id" -> Field::kId; kNone for a name that is not a field of the canonical record. "tok.in",
// "tok.out".. name the parts of `tok`.
[[nodiscard]] Field field_by_name(std::string_view name);
[[nodiscard]] std::string_view field_name(Field field);

// Unit of a number that stands for a time.
enum class TimeUnit : std::uint8_t { kMilliseconds, kSeconds, kNanoseconds };

// What a mapping found. Elements are views into the parser; reset() is cheap.
class FoundFields {
 public:
  void reset() {
    present_ = 0;
    time_unit = TimeUnit::kMilliseconds;
    kind = {};
    numbers_in_text = false;
    has_ttft_from = false;
  }
  void set(Field field, Element element) {
    elements_[static_cast<std::size_t>(field)] = element;
    present_ |= std::uint64_t{1} << static_cast<unsigned>(field);
  }
  void set_if_absent(Field field, Element element) {
    if (!has(field)) set(field, element);
  }
  void clear(Field field) { present_ &= ~(std::uint64_t{1} << static_cast<unsigned>(field)); }
  [[nodiscard]] bool has(Field field) const {
    return (present_ >> static_cast<unsigned>(field)) & 1U;
  }
  // The element, unless it is absent or JSON's null.
  [[nodiscard]] const Element* get(Field field) const {
    const Element& element = elements_[static_cast<std::size_t>(field)];
    return has(field) && !element.is_null() ? &element : nullptr;
  }

  TimeUnit time_unit = TimeUnit::kMilliseconds;
  std::string_view kind;         // set by a mapping that knows it otherwise; empty: see the field
  bool numbers_in_text = false;  // OTLP writes 64-bit integers as strings
  bool has_ttft_from = false;    // time to first token = this time - ts
  Element ttft_from_element;

 private:
  std::array<Element, kFields> elements_;
  std::uint64_t present_ = 0;
};
static_assert(kFields <= 64);

// Where a record's target comes from (config: ingest.target_by_*, the configured names).
struct TargetRules {
  std::vector<std::string> targets;  // sorted
  std::map<std::string, std::string, std::less<>> by_route;
  std::map<std::string, std::string, std::less<>> by_model;
  // The configured spelling, or empty.
  [[nodiscard]] std::string_view known(std::string_view name) const;
};

// Turns found fields into a record. One object a codec; scratch memory is reused.
class RecordBuilder {
 public:
  explicit RecordBuilder(const config::IngestSettings& settings) : settings_(settings) {}

  struct Times {
    std::int64_t kafka_ms = 0;
    std::int64_t now_ms = 0;
  };
  [[nodiscard]] Decoded build(const FoundFields& found, std::string_view default_kind,
                              const TargetRules& targets, Times times, TextArena& arena);

 private:
  struct Failed {
    DeadReason reason;
    std::string message;
  };
  void inference(const FoundFields& found, const TargetRules& targets, InferenceRecord& record);
  void feedback(const FoundFields& found, const TargetRules& targets, Feedback& feedback);
  void fail_with(DeadReason reason, Field field, std::string_view what);
  [[nodiscard]] bool failed() const { return failure_.has_value(); }

  [[nodiscard]] std::string_view text(const FoundFields& found, Field field, bool name = true);
  [[nodiscard]] std::optional<double> number(const FoundFields& found, Field field);
  [[nodiscard]] std::optional<std::int64_t> integer(const FoundFields& found, Field field);
  [[nodiscard]] std::optional<double> number_of(const Element& element, Field field);
  [[nodiscard]] std::optional<std::int64_t> integer_of(const Element& element, Field field);
  [[nodiscard]] std::optional<std::int64_t> time(const Element& element, Field field,
                                                 TimeUnit unit);
  [[nodiscard]] std::span<const float> floats(const FoundFields& found, Field field);
  [[nodiscard]] std::string_view raw(const FoundFields& found, Field field, bool object);
  void start_time(const FoundFields& found, std::int64_t& ts_ms, TimeSource& source);
  void served(const FoundFields& found, InferenceRecord& record);
  void tokens(const FoundFields& found, Tokens& tokens);
  void target(const FoundFields& found, const TargetRules& targets, InferenceRecord& record);
  void derive_feedback_id(Feedback& feedback);
  void turns(const FoundFields& found, InferenceRecord& record);
  void append_turns(const Element& element, Field field);
  void append_turn(const Element& element, Field field);
  void output(const FoundFields& found, InferenceRecord& record);
  [[nodiscard]] std::string_view content(const Element& element, Field field);
  void durations(const FoundFields& found, InferenceRecord& record);

  const config::IngestSettings& settings_;
  TextArena* arena_ = nullptr;
  Times times_;
  bool numbers_in_text_ = false;
  std::optional<Failed> failure_;
  std::vector<Turn> turns_;
  std::vector<float> floats_;
  std::string scratch_;
};

// Appends an element as compact JSON.
void append_json(const Element& element, std::string& out);

}  // namespace trimtab::daemon
