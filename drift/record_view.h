// RecordView: what the signals need to know of one canonical record (RECORDS.md section 1).
//
// daemon/record_codec fills it on the ingest thread while its parse buffers live; drift only reads
// it inside SignalExtractor::extract and keeps no view of it. Absent numbers are NaN, absent texts
// are empty with the `has_` flag false. Plain views: nothing owned.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace trimtab::drift {

// A value that a configured JSON pointer found: number (finite), text, or neither (absent / null).
struct PointerValue {
  enum class Type : std::uint8_t { kAbsent, kNumber, kText };
  Type type = Type::kAbsent;
  double number = std::numeric_limits<double>::quiet_NaN();
  std::string_view text;
};

struct RecordView {
  static constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

  std::string_view id;          // unique request id, non-empty
  std::int64_t ts_ms = 0;       // event time
  std::uint64_t offset = 0;     // the daemon's running number of the record, for onset references
  std::string_view session_id;  // empty: the record stands for itself
  std::string_view user_id;
  std::string_view tenant;
  std::string_view route;
  std::string_view model;
  std::string_view op;   // "probe": extract() refuses it
  std::string_view arm;  // served arm, empty when unattested

  double latency_s = kAbsent;
  double ttft_s = kAbsent;
  double tokens_in = kAbsent;
  double tokens_out = kAbsent;
  double mean_logprob = kAbsent;

  std::string_view input_text;   // the last user message's text (or the whole prompt string)
  std::string_view output_text;  // the completion's text
  bool has_input = false;
  bool has_output = false;
  std::string_view finish;
  std::string_view status;

  std::span<const float> embedding;  // logged embedding, empty when none

  // Values of SignalExtractor::pointers(), in that order (same length).
  std::span<const PointerValue> pointers;
};

}  // namespace trimtab::drift
