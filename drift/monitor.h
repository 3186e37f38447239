// Monitor: watches one target. Every signal in every segment has a rank e-detector (or the mean of
// 32 for the embedding) that shares one promise, `false_alarms: 1 per 30d`; every harm metric has a
// bounded-mean e-detector.
//
// Life of a segment's reference: collecting -> calibrating -> armed. A drift alarm is raised once;
// then a provisional reference is taken from the records after it, and the segment arms against
// that (an alarm there is the queued drift). rereference() after PROMOTED takes all anew.
// The harm baseline is absolute: only rereference() renews it, and never to a worse rate.
//
// Control's thread only; holds no locks; a deterministic function of its calls. Memory is bounded:
// signals x segments of detectors (<= 1 KB each) besides references, one ring of recent records,
// one ring of sessions. Fails: create() on bad settings; restore() on bytes that are not ours.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/drift_settings.h"
#include "drift/alarm.h"
#include "drift/observation.h"
#include "drift/outcome.h"
#include "drift/signals.h"

namespace trimtab::drift {

enum class MonitorState : std::uint8_t { kCollecting, kCalibrating, kArmed, kRefused };
[[nodiscard]] std::string_view monitor_state_name(MonitorState state);

struct SignalStatus {
  std::string name;
  std::string segment;
  std::string state;      // collecting | calibrating | armed | refused | watched
  std::string reason;     // why refused, or what calibration changed
  double evidence = 0.0;  // in the threshold's unit (event-time ms)
  double threshold = 0.0;
  double theta = 1.0;     // calibration's exponent
  std::int64_t thin = 1;  // every thin-th event feeds it
  std::int64_t reference_size = 0;
  std::int64_t reference_ts_ms = 0;  // event time of the reference's last record
  std::uint64_t events = 0;          // since armed
  std::vector<float> history;        // log10(evidence / threshold), oldest first, bounded
};

// The newest events of one signal against its reference: a drift report at any moment.
struct SignalReport {
  std::string name;
  std::string segment;
  std::uint64_t window = 0;  // events behind `current`, at most 256
  std::int64_t reference_size = 0;
  double log10_ratio = 0.0;  // of evidence to threshold
  std::string bet;           // the alternative that leads
  std::string season;        // the cell of the week behind `bins`; empty: all hours
  int channel = -1;          // of the embedding: the projection that leads; -1: one channel
  double psi = 0.0;
  double js = 0.0;
  double ks = 0.0;
  std::optional<double> wasserstein;
  std::vector<BinShare> bins;
  std::uint64_t history_every = 0;  // events a point
  std::vector<float> history;
};

struct HarmStatus {
  std::string metric;
  std::string state;  // collecting | armed | latched
  std::int64_t reference_size = 0;
  double reference_rate = 0.0;
  double baseline = 0.0;  // upper confidence bound in force
  double tolerance = 0.0;
  double evidence = 0.0;
  double threshold = 0.0;
  double recent_rate = 0.0;  // faded mean, half-life 100 outcomes
  std::uint64_t outcomes = 0;
  std::uint64_t refused = 0;  // values that were not in [0, 1]
};

// The label-free estimate of accuracy (drift/label_free.h), as status shows it.
struct AccuracyStatus {
  std::string state;  // off | learning | running
  std::int64_t learned = 0;
  double reference = 0.0;  // accuracy that it was calibrated on, and its lower bound
  double reference_lower = 0.0;
  std::uint64_t records = 0;  // since the last drift alarm
  std::uint64_t labels = 0;
  double unanchored = 0.0;
  std::optional<double> estimate, lower, upper;
  bool declined = false;
  std::int64_t since_ts_ms = 0;
};

struct MonitorStatus {
  MonitorState state = MonitorState::kCollecting;  // of segment "all"
  bool provisional = false;
  std::int64_t collected = 0;
  std::int64_t reference_size = 0;  // wanted
  // Seconds until armed at the rate seen so far; empty when no rate is known yet.
  std::optional<double> armed_in_s;
  std::string reason;            // of the last re-reference
  std::int64_t since_ts_ms = 0;  // event time of the present reference's first record
  std::uint64_t seen = 0;
  std::uint64_t counted = 0;
  std::uint64_t alarms = 0;
  std::vector<SignalStatus> signals;
  std::vector<HarmStatus> harm;
  AccuracyStatus accuracy;
};

// One piece of the saved state. Control stores pieces by (target, name); only changed ones need
// writing. An empty `bytes` means: delete the piece.
struct StatePiece {
  std::string name;
  std::string bytes;
};

// One step of a target's life, for take().
struct MonitorInput {
  const Observation* event = nullptr;  // null: an outcome
  Outcome outcome;
};

// An alarm, and the index of the input that raised it.
struct RaisedAlarm {
  std::size_t input = 0;
  Alarm alarm;
};

class Monitor {
 public:
  // kInvalid when the settings do not make sense (names the field).
  [[nodiscard]] static Result<Monitor> create(const config::DriftSettings& settings);
  Monitor(Monitor&&) noexcept;
  Monitor& operator=(Monitor&&) noexcept;
  ~Monitor();

  // One record, in the order in which control applies them.
  [[nodiscard]] std::optional<Alarm> observe(const Observation& event);
  [[nodiscard]] std::optional<Alarm> observe_outcome(const Outcome& outcome);
  // What observe() and observe_outcome() of each would have answered, in their order; faster,
  // because signals are updated one after the other, each over many records (segment_run.h).
  // Appends to `alarms`. REQUIRES: the observations stay where they are meanwhile.
  void take(std::span<const MonitorInput> inputs, std::vector<RaisedAlarm>& alarms);
  // Event-independent time, for ages and estimates; never raises an alarm.
  void tick(std::int64_t now_ms);

  // PROMOTED (or an operator): every reference and harm baseline is taken anew from here on.
  void rereference(std::string_view reason);
  // Another champion without a promotion (undo): the references are taken anew, harm's baselines
  // stay, for nothing says that the rate they promise is lost for good.
  void champion_changed(std::string_view reason);

  [[nodiscard]] MonitorState state() const;
  // True while some harm metric is latched: harm was shown and recovery has not been.
  [[nodiscard]] bool harm_latched() const;
  // True when the label-free estimate shows, anchored by labels, that accuracy has declined since
  // the last drift alarm: that drift is confirmed.
  [[nodiscard]] bool accuracy_declined() const;
  // The same for one metric; false for a name that is not watched.
  [[nodiscard]] bool harm_latched(std::string_view metric) const;
  [[nodiscard]] MonitorStatus status() const;
  // Armed signals of "all", and of segments those whose evidence has come within 1 % of its
  // threshold.
  [[nodiscard]] std::vector<SignalReport> reports() const;
  [[nodiscard]] const SignalExtractor& extractor() const;
  [[nodiscard]] const std::vector<std::string>& harm_metrics() const;
  // Its baseline is frozen and it is not latched: an alarm could come. REQUIRES: a valid index.
  [[nodiscard]] bool harm_armed(std::size_t metric) const;
  // Index of a harm metric by name, for Outcome::metric.
  [[nodiscard]] std::optional<std::size_t> harm_metric(std::string_view name) const;

  // Whole state as one versioned blob; byte-equal for equal histories.
  [[nodiscard]] std::string save() const;
  [[nodiscard]] Status restore(std::string_view bytes);
  // The pieces that changed since the last save_changed() (all of them the first time).
  [[nodiscard]] std::vector<StatePiece> save_changed();
  [[nodiscard]] Status restore_pieces(const std::vector<StatePiece>& pieces);

 private:
  class Impl;
  explicit Monitor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trimtab::drift
