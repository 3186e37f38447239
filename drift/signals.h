// Signals: a record becomes numbers and categories.
//
// The table is built once from the settings; extract() then runs on the ingest threads, without
// allocating and without state (const: share one among threads). What a value means against the
// reference is the Monitor's business. Source of the hashed text vector: feature hashing
// (Weinberger et al. 2009), signed, words and character trigrams.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/drift_settings.h"
#include "drift/observation.h"
#include "drift/record_view.h"

namespace trimtab::drift {

enum class SignalKind : std::uint8_t {
  kNumeric,
  kCategorical,
  kNovelty,    // distance to the nearest reference record by words: computed by the Monitor
  kEmbedding,  // 32 projections of the text vector: computed by the Monitor
};

enum class Builtin : std::uint8_t {
  kLatency,
  kTtft,
  kTokensIn,
  kTokensOut,
  kInputChars,
  kOutputChars,
  kInputWords,
  kOutputWords,
  kInputMeanWordLength,
  kInputDigitShare,
  kInputUpperShare,
  kInputPunctuationShare,
  kInputNonAsciiShare,
  kInputNovelty,
  kInputEmbedding,
  kOutputLabel,
  kFinish,
  kStatus,
  kModel,
  kMeanLogprob,
  kPointer,
};

struct Signal {
  std::string name;
  SignalKind kind = SignalKind::kNumeric;
  Builtin source = Builtin::kPointer;
  std::size_t pointer = 0;    // index into pointers(), for kPointer
  bool about_output = false;  // depends on the model: a candidate's records are left out
  bool alarm = true;
  double min_effect = 0.0;
};

struct SignalInfo {
  const char* name;
  const char* doc;
};
// Every built-in source with one line, for `check-config` and the docs.
[[nodiscard]] std::vector<SignalInfo> builtin_signals();
// What `signals: []` means: all content signals alarm; latency_s, ttft_s and the like are watched.
[[nodiscard]] std::vector<config::DriftSignalSettings> default_signals();

class SignalExtractor {
 public:
  // kInvalid: unknown source, duplicate name, more than kMaxSignals, a pointer without its kind.
  [[nodiscard]] static Result<SignalExtractor> create(const config::DriftSettings& settings);

  [[nodiscard]] const std::vector<Signal>& signals() const { return signals_; }
  // JSON pointers whose values RecordView::pointers must carry, in this order (signals' first,
  // then segments').
  [[nodiscard]] const std::vector<std::string>& pointers() const { return pointers_; }
  [[nodiscard]] const std::vector<std::string>& segment_fields() const { return segment_fields_; }

  // Fills `out` completely. False (out untouched) when the record must not be seen by drift
  // (op "probe"). Reads at most 8 KiB of each text. No allocation.
  [[nodiscard]] bool extract(const RecordView& record, Observation& out) const;

 private:
  struct SegmentField {
    enum class Source : std::uint8_t { kTenant, kRoute, kModel, kUser, kPointer };
    Source source = Source::kTenant;
    std::size_t pointer = 0;
  };
  // Adds the field's pointer to pointers_ when it is one.
  [[nodiscard]] Result<SegmentField> segment_field(const std::string& field);
  [[nodiscard]] static std::string_view segment_value(const SegmentField& field,
                                                      const RecordView& record);

  std::vector<Signal> signals_;
  std::vector<std::string> pointers_;
  std::vector<std::string> segment_fields_;
  std::vector<SegmentField> segment_sources_;
  double embedding_rate_ = 1.0;
  bool wants_embedding_ = false;
  bool wants_words_ = false;
};

}  // namespace trimtab::drift
