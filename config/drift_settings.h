// What drift watches and what it promises: the `drift:` section of a target. Defaults carry their
// reason. Plain values; config/load fills them, drift/ reads them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trimtab::config {

// One signal. `source` is a built-in's name (drift/signals.h lists them: latency_s, ttft_s,
// tokens_in, tokens_out, input_chars, output_chars, input_words, output_words,
// input_mean_word_length, input_digit_share, input_upper_share, input_punctuation_share,
// input_non_ascii_share, input_novelty, input_embedding, output_label, finish, status, model,
// mean_logprob) or a JSON pointer into the record, such as `/attributes/queue`.
struct DriftSignalSettings {
  std::string name;  // empty: the source's own name
  std::string source;
  std::string kind = "auto";  // auto | numeric | categorical; a pointer must say which
  double min_effect = 0.0;    // ignore changes smaller than this (Cohen's w; .2 is "small")
  bool alarm = true;          // false: watched and reported, raises no alarm, costs no budget
};

// A bounded outcome in [0, 1], 1 = bad; tested against the reference's rate.
struct HarmMetricSettings {
  std::string name;                  // label_loss | complaint | error | refusal | judge_loss | own
  double tolerance = 0.05;           // worse by less than this is not harm
  std::int64_t min_reference = 200;  // outcomes before its baseline is frozen
  std::int64_t max_reference = 5'000;  // outcomes after which it is frozen in any case
};

// kAuto: a signal whose pooled reference does not calibrate (it moves with the hour) gets one
// reference an hour of the week, where there are enough events, else day/night x weekday/weekend.
enum class Seasons { kAuto, kOff };

struct DriftSettings {
  // The reference: 10,000 is what the delays in STATISTICS.md were measured with; 500 is the least.
  std::int64_t reference_size = 10'000;
  // One event a session and window feeds the detectors: requests of one session are not
  // independent.
  std::int64_t session_window_ms = 3'600'000;
  // "false_alarms: 1 per 30d": shared over all signals and segments (e-Bonferroni).
  double false_alarms = 1.0;
  std::int64_t false_alarms_per_ms = 30LL * 24 * 3'600'000;
  // Half-life of the learned bet, in events: long enough to learn 32 bins, short enough to forget.
  std::int64_t half_life_events = 5'000;
  // Empty: the built-in set of drift/signals.h (default_signals).
  std::vector<DriftSignalSettings> signals;
  // Record fields whose values are watched apart (tenant, route, model, user_id or a JSON pointer).
  std::vector<std::string> segments;
  // Values beyond this many fall into `other`: memory is signals x segments.
  std::int64_t max_segments = 16;
  // Share of records (stable hash of the id) that get the hashed-text embedding; 1 = all.
  double embedding_rate = 1.0;
  // Calibration before arming refuses below this exponent of "run ~ c^theta" (STATISTICS.md 1).
  double min_theta = 0.5;
  Seasons seasons = Seasons::kAuto;
  // Local time of the traffic, for day and night; event time itself is UTC.
  double utc_offset_hours = 0.0;
  // Harm. Empty: label_loss and complaint.
  std::vector<HarmMetricSettings> harm;
  // A harm alarm is latched until the rate is shown to be back (evidence 1 / this).
  double harm_recovery_alpha = 0.01;
};

}  // namespace trimtab::config
