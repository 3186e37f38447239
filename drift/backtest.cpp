#include "drift/backtest.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kMaxPoints = 512;
constexpr std::size_t kMaxScales = 16;

std::optional<double> mean_run(std::int64_t armed_ms, std::size_t alarms) {
  if (alarms == 0) return std::nullopt;
  return static_cast<double>(armed_ms) / static_cast<double>(alarms);
}

void halve(EvidenceCurve& curve) {
  const std::size_t half = curve.ts_ms.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    curve.ts_ms[i] = curve.ts_ms[2 * i + 1];
    curve.log10_ratio[i] = std::max(curve.log10_ratio[2 * i], curve.log10_ratio[2 * i + 1]);
  }
  curve.ts_ms.resize(half);
  curve.log10_ratio.resize(half);
}

}  // namespace

std::optional<double> SignalRun::measured_run_ms() const { return mean_run(armed_ms, alarms); }
std::optional<double> BacktestRun::measured_run_ms() const {
  std::size_t drifts = 0;
  for (const Alarm& alarm : alarms) drifts += alarm.kind == AlarmKind::kDrift ? 1 : 0;
  return mean_run(armed_ms, drifts);
}

const BacktestRun& BacktestResult::configured() const {
  CHECK(!runs.empty(), "a backtest has its configured run");
  return runs.front();
}

void Backtest::Watching::set(bool on, std::int64_t ts_ms) {
  if (since_ms >= 0 && !on) {
    sum_ms += std::max<std::int64_t>(0, ts_ms - since_ms);
    since_ms = -1;
  }
  if (on && since_ms < 0) since_ms = ts_ms;
}

std::int64_t Backtest::Watching::until(std::int64_t ts_ms) const {
  return since_ms < 0 ? sum_ms : sum_ms + std::max<std::int64_t>(0, ts_ms - since_ms);
}

Result<Backtest> Backtest::create(const config::DriftSettings& settings,
                                  const std::vector<double>& scales) {
  Backtest backtest;
  std::vector<double> all = {1.0};
  for (const double scale : scales) {
    if (!(scale > 0.0 && scale < 1e9)) {
      return fail(Code::kInvalid, "a promise's scale lies above 0 and below 1e9");
    }
    if (std::find(all.begin(), all.end(), scale) == all.end()) all.push_back(scale);
  }
  if (all.size() > kMaxScales) return fail(Code::kInvalid, "at most 16 promises at once");
  for (const double scale : all) {
    config::DriftSettings scaled = settings;
    scaled.false_alarms = settings.false_alarms / scale;
    TRIMTAB_TRY(Monitor monitor, Monitor::create(scaled));
    backtest.harm_armed_.emplace_back(monitor.harm_metrics().size());
    backtest.monitors_.push_back(std::move(monitor));
    BacktestRun run;
    run.scale = scale;
    run.promise_ms = static_cast<double>(settings.false_alarms_per_ms) / scaled.false_alarms;
    backtest.result_.runs.push_back(std::move(run));
  }
  backtest.armed_.resize(backtest.monitors_.size());
  return backtest;
}

void Backtest::note_time(std::int64_t ts_ms) {
  if (result_.first_ts_ms == 0) result_.first_ts_ms = ts_ms;
  result_.last_ts_ms = std::max(result_.last_ts_ms, ts_ms);
}

void Backtest::observe(const Observation& event, std::vector<Raised>& raised) {
  ++result_.records;
  note_time(event.ts_ms);
  for (std::size_t run = 0; run < monitors_.size(); ++run) {
    auto alarm = monitors_[run].observe(event);
    const bool armed = monitors_[run].state() == MonitorState::kArmed;
    if (alarm) armed_[run].set(false, event.ts_ms);
    armed_[run].set(armed, event.ts_ms);
    if (armed && run == 0 && result_.first_armed_ts_ms == 0) {
      result_.first_armed_ts_ms = event.ts_ms;
    }
    if (!alarm) continue;
    result_.runs[run].alarms.push_back(*alarm);
    raised.push_back({run, std::move(*alarm)});
  }
  if (result_.records % sample_every_ == 0) sample();
}

void Backtest::observe_outcome(const Outcome& outcome, std::vector<Raised>& raised) {
  ++result_.outcomes;
  note_time(outcome.ts_ms);
  for (std::size_t run = 0; run < monitors_.size(); ++run) {
    auto alarm = monitors_[run].observe_outcome(outcome);
    harm_armed_[run][outcome.metric].set(monitors_[run].harm_armed(outcome.metric), outcome.ts_ms);
    if (!alarm) continue;
    result_.runs[run].alarms.push_back(*alarm);
    raised.push_back({run, std::move(*alarm)});
  }
}

void Backtest::tick(std::int64_t now_ms) {
  for (Monitor& monitor : monitors_) monitor.tick(now_ms);
}

void Backtest::rereference(std::size_t run, std::string_view reason) {
  monitors_[run].rereference(reason);
  armed_[run].set(false, result_.last_ts_ms);
}

void Backtest::note_retraining(std::size_t run, Retraining retraining) {
  result_.runs[run].retrainings.push_back(std::move(retraining));
}

void Backtest::add_point(const std::string& signal, const std::string& segment, double ratio) {
  auto curve = std::find_if(
      result_.curves.begin(), result_.curves.end(),
      [&](const EvidenceCurve& c) { return c.signal == signal && c.segment == segment; });
  if (curve == result_.curves.end()) {
    result_.curves.push_back({signal, segment, {}, {}});
    curve = result_.curves.end() - 1;
  }
  curve->ts_ms.push_back(result_.last_ts_ms);
  curve->log10_ratio.push_back(static_cast<float>(std::log10(ratio)));
}

void Backtest::sample() {
  const MonitorStatus status = monitors_[0].status();
  for (const SignalStatus& signal : status.signals) {
    if (signal.state != "armed" || signal.evidence <= 0.0) continue;
    add_point(signal.name, signal.segment, signal.evidence / signal.threshold);
  }
  for (const HarmStatus& harm : status.harm) {
    if (harm.state != "armed" || harm.evidence <= 0.0) continue;
    add_point(harm.metric, "harm", harm.evidence / harm.threshold);
  }
  const bool full = std::any_of(result_.curves.begin(), result_.curves.end(),
                                [](const auto& c) { return c.ts_ms.size() >= kMaxPoints; });
  if (!full) return;
  sample_every_ *= 2;
  for (EvidenceCurve& curve : result_.curves) halve(curve);
}

std::vector<SignalRun> Backtest::signal_runs(std::size_t run) const {
  const MonitorStatus status = monitors_[run].status();
  const std::int64_t armed_ms = armed_[run].until(result_.last_ts_ms);
  std::vector<SignalRun> all;
  for (const SignalStatus& signal : status.signals) {
    const bool watches = signal.state != "watched" && signal.state != "refused";
    all.push_back({signal.name, signal.segment, false, signal.state, signal.threshold,
                   watches ? armed_ms : 0, 0});
  }
  for (std::size_t m = 0; m < status.harm.size(); ++m) {
    all.push_back({status.harm[m].metric, "all", true, status.harm[m].state,
                   status.harm[m].threshold, harm_armed_[run][m].until(result_.last_ts_ms), 0});
  }
  for (const Alarm& alarm : result_.runs[run].alarms) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const SignalRun& s) {
      return s.signal == alarm.signal && s.segment == alarm.segment &&
             s.harm == (alarm.kind == AlarmKind::kHarm);
    });
    if (at == all.end()) continue;
    ++at->alarms;
    if (at->armed_ms == 0) at->armed_ms = armed_ms;  // refused since: it watched before
  }
  return all;
}

BacktestResult Backtest::result() const {
  BacktestResult result = result_;
  for (std::size_t run = 0; run < monitors_.size(); ++run) {
    result.runs[run].armed_ms = armed_[run].until(result_.last_ts_ms);
    result.runs[run].signals = signal_runs(run);
  }
  result.final_status = monitors_[0].status();
  result.counted = result.final_status.counted;
  return result;
}

}  // namespace trimtab::drift
