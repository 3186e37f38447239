#include "drift/backtest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "drift/report.h"

namespace trimtab::drift {
namespace {

constexpr std::array kScales = {1.0, 0.01, 0.1, 10.0};  // the configured promise first
constexpr std::size_t kMaxPoints = 512;
constexpr double kMsPerDay = 86'400'000.0;

std::string days(double ms) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3g d", ms / kMsPerDay);
  return text;
}

std::string run_text(const BacktestRun& run) {
  const auto measured = run.measured_run_ms();
  return measured ? days(*measured) : ">= " + days(static_cast<double>(run.armed_ms));
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

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::optional<double> BacktestRun::measured_run_ms() const {
  if (alarms.empty()) return std::nullopt;
  return static_cast<double>(armed_ms) / static_cast<double>(alarms.size());
}

const BacktestRun& BacktestResult::configured() const {
  CHECK(!runs.empty(), "a backtest has its configured run");
  return runs.front();
}

Result<Backtest> Backtest::create(const config::DriftSettings& settings) {
  Backtest backtest;
  for (const double scale : kScales) {
    config::DriftSettings scaled = settings;
    scaled.false_alarms = settings.false_alarms / scale;
    TRIMTAB_TRY(Monitor monitor, Monitor::create(scaled));
    backtest.monitors_.push_back(std::move(monitor));
    BacktestRun run;
    run.scale = scale;
    run.promise_ms = static_cast<double>(settings.false_alarms_per_ms) / scaled.false_alarms;
    backtest.result_.runs.push_back(std::move(run));
  }
  backtest.armed_since_ms_.assign(backtest.monitors_.size(), -1);
  return backtest;
}

std::optional<Alarm> Backtest::observe(const Observation& event) {
  if (result_.records++ == 0) result_.first_ts_ms = event.ts_ms;
  result_.last_ts_ms = std::max(result_.last_ts_ms, event.ts_ms);
  std::optional<Alarm> configured;
  for (std::size_t m = 0; m < monitors_.size(); ++m) {
    auto alarm = monitors_[m].observe(event);
    const bool armed = monitors_[m].state() == MonitorState::kArmed;
    std::int64_t& since = armed_since_ms_[m];
    if (since >= 0 && (!armed || alarm)) {
      result_.runs[m].armed_ms += std::max<std::int64_t>(0, event.ts_ms - since);
      since = -1;
    }
    if (armed && since < 0) since = event.ts_ms;
    if (armed && m == 0 && result_.first_armed_ts_ms == 0) result_.first_armed_ts_ms = event.ts_ms;
    if (!alarm) continue;
    if (m == 0) configured = alarm;
    result_.runs[m].alarms.push_back(std::move(*alarm));
  }
  if (result_.records % sample_every_ == 0) sample();
  return configured;
}

std::optional<Alarm> Backtest::observe_outcome(const Outcome& outcome) {
  ++result_.outcomes;
  std::optional<Alarm> configured;
  for (std::size_t m = 0; m < monitors_.size(); ++m) {
    auto alarm = monitors_[m].observe_outcome(outcome);
    if (!alarm) continue;
    if (m == 0) configured = alarm;
    result_.runs[m].alarms.push_back(std::move(*alarm));
  }
  return configured;
}

void Backtest::rereference(std::string_view reason) {
  for (Monitor& monitor : monitors_) monitor.rereference(reason);
}

void Backtest::sample() {
  const MonitorStatus status = monitors_[0].status();
  bool full = false;
  for (const SignalStatus& signal : status.signals) {
    if (signal.state != "armed" || signal.evidence <= 0.0) continue;
    auto curve = std::find_if(result_.curves.begin(), result_.curves.end(),
                              [&signal](const EvidenceCurve& c) {
                                return c.signal == signal.name && c.segment == signal.segment;
                              });
    if (curve == result_.curves.end()) {
      result_.curves.push_back({signal.name, signal.segment, {}, {}});
      curve = result_.curves.end() - 1;
    }
    curve->ts_ms.push_back(result_.last_ts_ms);
    curve->log10_ratio.push_back(
        static_cast<float>(std::log10(signal.evidence / signal.threshold)));
    full |= curve->ts_ms.size() >= kMaxPoints;
  }
  if (!full) return;
  sample_every_ *= 2;
  for (EvidenceCurve& curve : result_.curves) halve(curve);
}

BacktestResult Backtest::result() const {
  BacktestResult result = result_;
  for (std::size_t m = 0; m < monitors_.size(); ++m) {
    if (armed_since_ms_[m] >= 0) {
      result.runs[m].armed_ms += std::max<std::int64_t>(0, result.last_ts_ms - armed_since_ms_[m]);
    }
  }
  result.final_status = monitors_[0].status();
  result.counted = result.final_status.counted;
  return result;
}

Json to_json(const BacktestResult& result) {
  Json out = {
      {"records", result.records},
      {"counted", result.counted},
      {"outcomes", result.outcomes},
      {"first_ts", format_rfc3339(result.first_ts_ms)},
      {"last_ts", format_rfc3339(result.last_ts_ms)},
      {"first_armed_ts",
       result.first_armed_ts_ms == 0 ? Json() : Json(format_rfc3339(result.first_armed_ts_ms))},
      {"promises", Json::array()},
      {"alarms", Json::array()},
      {"status", to_json(result.final_status)}};
  for (const BacktestRun& run : result.runs) {
    const auto measured = run.measured_run_ms();
    std::map<std::string, int> by_signal;
    for (const Alarm& alarm : run.alarms) ++by_signal[alarm.signal];
    out["promises"].push_back({{"scale", run.scale},
                               {"promise_ms", run.promise_ms},
                               {"armed_ms", run.armed_ms},
                               {"alarms", run.alarms.size()},
                               {"alarms_by_signal", by_signal},
                               {"measured_run_ms", measured ? Json(*measured) : Json()}});
  }
  for (const Alarm& alarm : result.configured().alarms) out["alarms"].push_back(to_json(alarm));
  return out;
}

std::string to_table(const BacktestResult& result) {
  std::string out = std::to_string(result.records) + " records, " + std::to_string(result.counted) +
                    " counted, " + format_rfc3339(result.first_ts_ms) + " .. " +
                    format_rfc3339(result.last_ts_ms) + "\n";
  if (result.first_armed_ts_ms == 0) {
    out += "never armed: " + std::string(monitor_state_name(result.final_status.state)) + ", " +
           std::to_string(result.final_status.collected) + " of " +
           std::to_string(result.final_status.reference_size) + " reference events\n";
  }
  out += "\nPROMISE (1 false alarm per)  ALARMS  MEASURED RUN\n";
  for (const BacktestRun& run : result.runs) {
    char line[128];
    std::snprintf(line, sizeof line, "%-27s  %6zu  %s%s\n", days(run.promise_ms).c_str(),
                  run.alarms.size(), run_text(run).c_str(),
                  run.scale == 1.0 ? "   <- configured" : "");
    out += line;
  }
  out += "\nSIGNAL                           SEGMENT           STATE     THETA  THIN  REASON\n";
  for (const SignalStatus& signal : result.final_status.signals) {
    char line[320];
    std::snprintf(line, sizeof line, "%-32s %-17s %-9s %5.2f %5lld  %s\n", signal.name.c_str(),
                  signal.segment.c_str(), signal.state.c_str(), signal.theta,
                  static_cast<long long>(signal.thin), signal.reason.c_str());
    out += line;
  }
  out += "\nALARMS\n";
  for (const Alarm& alarm : result.configured().alarms) {
    out += format_rfc3339(alarm.ts_ms) + "  " + std::string(alarm_kind_name(alarm.kind)) + "  " +
           alarm.summary + "\n";
  }
  if (result.configured().alarms.empty()) out += "none\n";
  return out;
}

std::string to_svg(const BacktestResult& result) {
  constexpr double kWidth = 960;
  constexpr double kHeight = 360;
  constexpr double kLow = -6.0;  // log10 ratio at the bottom
  constexpr double kHigh = 1.0;
  constexpr std::array kColours = {"#1b6ca8", "#c0392b", "#2e8b57",
                                   "#8e44ad", "#b9770e", "#117a65"};
  const double span = std::max(1.0, static_cast<double>(result.last_ts_ms - result.first_ts_ms));
  const auto x_of = [&](std::int64_t ts) {
    return 50.0 + (kWidth - 60.0) * static_cast<double>(ts - result.first_ts_ms) / span;
  };
  const auto y_of = [&](double ratio) {
    return 10.0 + (kHeight - 40.0) * (kHigh - std::clamp(ratio, kLow, kHigh)) / (kHigh - kLow);
  };
  char text[256];
  std::snprintf(text, sizeof text,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
                "font-family=\"sans-serif\" font-size=\"11\">\n",
                kWidth, kHeight + 20.0);
  std::string out = text;
  std::snprintf(text, sizeof text,
                "<line x1=\"50\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#c0392b\" "
                "stroke-dasharray=\"4 3\"/><text x=\"52\" y=\"%.1f\">threshold</text>\n",
                kWidth - 10.0, y_of(0.0), y_of(0.0), y_of(0.0) - 3.0);
  out += text;
  std::vector<const EvidenceCurve*> shown;
  for (const EvidenceCurve& curve : result.curves) shown.push_back(&curve);
  const auto peak = [](const EvidenceCurve* curve) {
    return *std::max_element(curve->log10_ratio.begin(), curve->log10_ratio.end());
  };
  std::stable_sort(shown.begin(), shown.end(),
                   [&](const auto* a, const auto* b) { return peak(a) > peak(b); });
  if (shown.size() > kColours.size()) shown.resize(kColours.size());
  for (std::size_t i = 0; i < shown.size(); ++i) {
    out += "<polyline fill=\"none\" stroke=\"" + std::string(kColours[i]) + "\" points=\"";
    for (std::size_t p = 0; p < shown[i]->ts_ms.size(); ++p) {
      std::snprintf(text, sizeof text, "%.1f,%.1f ", x_of(shown[i]->ts_ms[p]),
                    y_of(static_cast<double>(shown[i]->log10_ratio[p])));
      out += text;
    }
    std::snprintf(text, sizeof text, "\"/><text x=\"%.0f\" y=\"%.0f\" fill=\"%s\">",
                  60.0 + 150.0 * static_cast<double>(i), kHeight + 12.0, kColours[i]);
    out += text + escaped(shown[i]->signal) + "</text>\n";
  }
  for (const Alarm& alarm : result.configured().alarms) {
    std::snprintf(text, sizeof text,
                  "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"10\" y2=\"%.1f\" stroke=\"#333\">",
                  x_of(alarm.ts_ms), x_of(alarm.ts_ms), kHeight - 30.0);
    out += text;
    out += "<title>" + escaped(alarm.summary) + "</title></line>\n";
  }
  return out + "</svg>\n";
}

}  // namespace trimtab::drift
