// Backtest: past records through the very monitor the daemon runs, and what it would have said.
//
// The records go through several monitors at once, one a promise (the configured one, and 100 times
// and 10 times looser and 10 times stricter), so that the table shows what another promise would
// have cost in alarms. The caller decodes (daemon/record_codec) and feeds in order of time; it may
// feed outcomes between. Memory: the monitors, and at most 512 points of evidence a signal.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "drift/alarm.h"
#include "drift/monitor.h"

namespace trimtab::drift {

// What one promise would have given.
struct BacktestRun {
  double scale = 1.0;         // of the configured promise
  double promise_ms = 0.0;    // one false alarm in this event time, over all signals
  std::vector<Alarm> alarms;  // in order
  std::int64_t armed_ms = 0;  // event time during which it watched
  // Watched time an alarm; empty without alarms (then it is at least armed_ms).
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
  std::vector<BacktestRun> runs;       // the configured promise is the one with scale 1
  std::vector<EvidenceCurve> curves;
  MonitorStatus final_status;  // of the configured promise

  [[nodiscard]] const BacktestRun& configured() const;
};

class Backtest {
 public:
  // kInvalid when the settings do not make sense.
  [[nodiscard]] static Result<Backtest> create(const config::DriftSettings& settings);

  [[nodiscard]] const SignalExtractor& extractor() const { return monitors_[0].extractor(); }
  [[nodiscard]] std::optional<std::size_t> harm_metric(std::string_view name) const {
    return monitors_[0].harm_metric(name);
  }
  // Alarms of the configured promise are returned as well, so that a policy can be asked.
  std::optional<Alarm> observe(const Observation& event);
  std::optional<Alarm> observe_outcome(const Outcome& outcome);
  // Passes on what the caller's policy decided (a promotion in the replayed history).
  void rereference(std::string_view reason);

  [[nodiscard]] BacktestResult result() const;

 private:
  Backtest() = default;
  void sample();

  std::vector<Monitor> monitors_;
  BacktestResult result_;
  std::vector<std::int64_t> armed_since_ms_;
  std::uint64_t sample_every_ = 32;
};

[[nodiscard]] nlohmann::json to_json(const BacktestResult& result);
// For people: one line a promise, one a signal, one an alarm.
[[nodiscard]] std::string to_table(const BacktestResult& result);
// Evidence over time with the alarms marked; self-contained.
[[nodiscard]] std::string to_svg(const BacktestResult& result);

}  // namespace trimtab::drift
