// Backtest: past records through the very monitor the daemon runs, and what it would have said.
//
// The records go through several monitors at once, one a promise (the configured one, and by
// default 100 and 10 times looser and 10 times stricter), so that the tables show what another
// promise would have cost in alarms. The caller decodes and orders (daemon/backtest_replay), feeds
// outcomes between, and tells which retrainings its policy launched. Renderers:
// backtest_report.cpp. Memory: the monitors, the alarms, and at most 512 points of evidence a
// signal. One thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "drift/alarm.h"
#include "drift/monitor.h"

namespace trimtab::drift {

// A job that the caller's policy would have started.
struct Retraining {
  std::int64_t ts_ms = 0;    // event time
  std::uint64_t offset = 0;  // running number of the record that came last
  std::string trigger;       // harm | drift | drift_confirmed | schedule | volume
  std::uint64_t alarm = 0;   // seq of the alarm it answers; 0: none
  std::int64_t examples = 0;
  std::string message;
};

// One signal (or harm metric, segment "all") under one promise.
struct SignalRun {
  std::string signal;
  std::string segment;
  bool harm = false;
  std::string state;
  double threshold_ms = 0.0;  // of its evidence, after calibration
  std::int64_t armed_ms = 0;  // event time during which it watched
  std::size_t alarms = 0;
  // Watched time an alarm; empty without alarms (then it is at least armed_ms).
  [[nodiscard]] std::optional<double> measured_run_ms() const;
};

// What one promise would have given.
struct BacktestRun {
  double scale = 1.0;         // of the configured promise
  double promise_ms = 0.0;    // one false alarm in this event time, over all signals
  std::vector<Alarm> alarms;  // in order
  std::vector<Retraining> retrainings;
  std::int64_t armed_ms = 0;  // event time during which segment "all" watched
  std::vector<SignalRun> signals;
  [[nodiscard]] std::optional<double> measured_run_ms() const;
};

// Evidence of one signal over time at the configured promise.
struct EvidenceCurve {
  std::string signal;
  std::string segment;
  std::vector<std::int64_t> ts_ms;
  std::vector<float> log10_ratio;  // of evidence to threshold; 0 is the alarm
};

struct BacktestResult {
  std::uint64_t records = 0;
  std::uint64_t counted = 0;  // after the session window
  std::uint64_t outcomes = 0;
  std::int64_t first_ts_ms = 0;
  std::int64_t last_ts_ms = 0;
  std::int64_t first_armed_ts_ms = 0;  // 0: never armed
  std::vector<BacktestRun> runs;       // the configured promise (scale 1) is the first
  std::vector<EvidenceCurve> curves;
  MonitorStatus final_status;  // of the configured promise

  [[nodiscard]] const BacktestRun& configured() const;
};

class Backtest {
 public:
  struct Raised {
    std::size_t run = 0;
    Alarm alarm;
  };

  // `scales`: promises besides the configured one, as multiples of its mean time between false
  // alarms. kInvalid when the settings or a scale make no sense.
  [[nodiscard]] static Result<Backtest> create(const config::DriftSettings& settings,
                                               const std::vector<double>& scales = {0.01, 0.1, 10});

  [[nodiscard]] const SignalExtractor& extractor() const { return monitors_[0].extractor(); }
  [[nodiscard]] std::optional<std::size_t> harm_metric(std::string_view name) const {
    return monitors_[0].harm_metric(name);
  }
  [[nodiscard]] std::size_t runs() const { return monitors_.size(); }
  [[nodiscard]] const Monitor& monitor(std::size_t run) const { return monitors_[run]; }

  // Appends what was raised, by run.
  void observe(const Observation& event, std::vector<Raised>& raised);
  void observe_outcome(const Outcome& outcome, std::vector<Raised>& raised);
  void tick(std::int64_t now_ms);
  // A promotion in the replayed history, or one that the caller takes a retraining to end in.
  void rereference(std::size_t run, std::string_view reason);
  void note_retraining(std::size_t run, Retraining retraining);

  [[nodiscard]] BacktestResult result() const;

 private:
  // Event time during which something watched: open since `since_ms`, -1 when it does not.
  struct Watching {
    std::int64_t since_ms = -1;
    std::int64_t sum_ms = 0;
    void set(bool on, std::int64_t ts_ms);
    [[nodiscard]] std::int64_t until(std::int64_t ts_ms) const;
  };
  Backtest() = default;
  void note_time(std::int64_t ts_ms);
  void sample();
  void add_point(const std::string& signal, const std::string& segment, double ratio);
  [[nodiscard]] std::vector<SignalRun> signal_runs(std::size_t run) const;

  std::vector<Monitor> monitors_;
  BacktestResult result_;
  std::vector<Watching> armed_;                    // a run: segment "all"
  std::vector<std::vector<Watching>> harm_armed_;  // a run, a harm metric
  std::uint64_t sample_every_ = 32;
};

[[nodiscard]] nlohmann::json to_json(const BacktestResult& result);
// For people: one line a promise, a signal, an alarm, a retraining.
[[nodiscard]] std::string to_table(const BacktestResult& result);
// Evidence over time with alarms and retrainings marked; self-contained.
[[nodiscard]] std::string to_svg(const BacktestResult& result);

}  // namespace trimtab::drift
