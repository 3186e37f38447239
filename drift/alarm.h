// Alarm: what drift tells the control loop, once, with everything an operator asks first: what
// changed, since when, how sure, where to look. Plain values; drift/report.h renders JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "drift/embedding_shift.h"

namespace trimtab::drift {

enum class AlarmKind : std::uint8_t { kDrift, kHarm };
[[nodiscard]] std::string_view alarm_kind_name(AlarmKind kind);  // "drift" | "harm"

// One bin (or category) of the alarming signal, reference against the events since the onset.
struct BinShare {
  std::string label;  // "[1.5, 2.25)" or the category's name; "missing", "other"
  double reference = 0.0;
  double current = 0.0;
  double log_wealth = 0.0;  // natural log of what this bin contributed to the alarming bet
};

struct WordChange {
  std::string word;
  double reference = 0.0;  // share of records with the word
  double current = 0.0;
  std::vector<std::string> record_ids;  // up to 3 examples (gained words only)
};

// Where a signal stood when the alarm was raised.
struct SignalEvidence {
  std::string signal;
  std::string segment;
  double log10_ratio = 0.0;  // log10(evidence / threshold): >= 0 has crossed
  bool together = false;     // changed as well, by e-d-BH at this moment
};

struct Alarm {
  std::uint64_t seq = 0;  // 1, 2, .. within the target
  AlarmKind kind = AlarmKind::kDrift;
  std::string signal;        // the harm metric's name for kHarm
  std::string segment;       // "all" or "<field>=<value>"
  std::int64_t ts_ms = 0;    // event time of the record that raised it
  std::uint64_t offset = 0;  // its running number
  std::int64_t onset_ts_ms = 0;
  std::uint64_t onset_offset = 0;
  std::uint64_t delay_events = 0;  // counted events from the onset to the alarm
  double evidence = 0.0;
  double threshold = 0.0;
  double promise_ms = 0.0;  // one false alarm in this event time, over all signals and segments
  bool provisional_reference = false;  // raised against a provisional reference: a queued drift
  std::string summary;                 // one sentence

  // Attribution (kDrift).
  std::vector<BinShare> bins;
  double psi = 0.0;
  double js = 0.0;                    // Jensen-Shannon distance, natural log
  double ks = 0.0;                    // ordered signals only
  std::optional<double> wasserstein;  // numbers only, in the signal's unit; over the inner bins
  std::string bet;                    // the alternative that won: "shift +.5", "learned", ..
  std::uint64_t window = 0;           // events behind `current`
  std::string season;                 // the cell of the week behind `bins`; empty: all hours
  std::string driven_by;              // the segment that moved most, where segments are watched
  std::vector<WordChange> words_gained;
  std::vector<WordChange> words_lost;
  std::vector<SignalEvidence> signals;      // the most moved first, at most 12
  std::vector<std::string> example_ids;     // up to 5 records from the bins that paid most
  std::optional<EmbeddingShift> embedding;  // where text vectors are watched

  // Evidence over time: log10(evidence / threshold), oldest first, the alarm last.
  std::uint64_t history_every = 0;  // events between two points
  std::vector<float> history;
  // All that the evidence was made of (drift/derivation.h); not part of the JSON.
  std::string trail;

  // kHarm.
  double baseline = 0.0;  // upper confidence bound of the reference's rate
  double tolerance = 0.0;
  double rate = 0.0;  // mean since the onset
};

}  // namespace trimtab::drift
