// A backtest's result for programs (JSON), people (a table) and eyes (SVG).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/clock.h"
#include "base/json.h"
#include "drift/backtest.h"
#include "drift/report.h"

namespace trimtab::drift {
namespace {

constexpr double kMsPerDay = 86'400'000.0;

// Three digits and the unit that people would use.
std::string span(double ms) {
  char text[48];
  const auto say = [&](double unit, const char* name) {
    std::snprintf(text, sizeof text, "%.3g %s", ms / unit, name);
    return std::string(text);
  };
  if (ms < 60'000.0) return say(1'000.0, "s");
  if (ms < 3'600'000.0) return say(60'000.0, "min");
  if (ms < kMsPerDay) return say(3'600'000.0, "h");
  return say(kMsPerDay, "d");
}

std::string run_text(std::optional<double> measured, std::int64_t armed_ms) {
  if (measured) return span(*measured);
  return armed_ms == 0 ? "-" : ">= " + span(static_cast<double>(armed_ms));
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

Json measured_json(const std::optional<double>& measured) {
  return measured ? Json(*measured) : Json();
}

Json signal_json(const SignalRun& signal) {
  return {{"signal", signal.signal},
          {"segment", signal.segment},
          {"kind", signal.harm ? "harm" : "drift"},
          {"state", signal.state},
          {"threshold_ms", signal.threshold_ms},
          {"armed_ms", signal.armed_ms},
          {"alarms", signal.alarms},
          {"measured_run_ms", measured_json(signal.measured_run_ms())}};
}

Json retraining_json(const Retraining& retraining) {
  return {{"ts", format_rfc3339(retraining.ts_ms)},
          {"ts_ms", retraining.ts_ms},
          {"offset", retraining.offset},
          {"trigger", retraining.trigger},
          {"alarm", retraining.alarm == 0 ? Json() : Json(retraining.alarm)},
          {"examples", retraining.examples},
          {"message", retraining.message}};
}

Json alarm_time_json(const Alarm& alarm) {
  return {
      {"seq", alarm.seq},         {"ts", format_rfc3339(alarm.ts_ms)},   {"ts_ms", alarm.ts_ms},
      {"offset", alarm.offset},   {"kind", alarm_kind_name(alarm.kind)}, {"signal", alarm.signal},
      {"segment", alarm.segment}, {"delay_events", alarm.delay_events}};
}

Json run_json(const BacktestRun& run) {
  Json out = {{"scale", run.scale},       {"promise_ms", run.promise_ms},
              {"armed_ms", run.armed_ms}, {"measured_run_ms", measured_json(run.measured_run_ms())},
              {"alarms", Json::array()},  {"retrainings", Json::array()},
              {"signals", Json::array()}};
  for (const Alarm& alarm : run.alarms) out["alarms"].push_back(alarm_time_json(alarm));
  for (const Retraining& one : run.retrainings) out["retrainings"].push_back(retraining_json(one));
  for (const SignalRun& signal : run.signals) out["signals"].push_back(signal_json(signal));
  return out;
}

std::string promises_table(const BacktestResult& result) {
  std::string out =
      "\nPROMISE (1 false alarm per)  ALARMS  WATCHED      MEASURED RUN   RETRAININGS\n";
  for (const BacktestRun& run : result.runs) {
    char line[192];
    std::snprintf(line, sizeof line, "%-27s  %6zu  %-11s  %-13s  %11zu%s\n",
                  span(run.promise_ms).c_str(), run.alarms.size(),
                  span(static_cast<double>(run.armed_ms)).c_str(),
                  run_text(run.measured_run_ms(), run.armed_ms).c_str(), run.retrainings.size(),
                  run.scale == 1.0 ? "   <- configured" : "");
    out += line;
  }
  return out;
}

// One row a signal, one column a promise: alarms, and the measured run where there were some.
std::string signals_table(const BacktestResult& result) {
  std::string out = "\nSIGNAL                         SEGMENT           STATE     ";
  char cell[96];
  for (const BacktestRun& run : result.runs) {
    std::snprintf(cell, sizeof cell, " %-18s", ("1 per " + span(run.promise_ms)).c_str());
    out += cell;
  }
  out += "\n";
  const auto& configured = result.configured().signals;
  for (std::size_t i = 0; i < configured.size(); ++i) {
    const SignalRun& row = configured[i];
    char line[160];
    std::snprintf(line, sizeof line, "%-30s %-17s %-10s",
                  (row.harm ? "harm " + row.signal : row.signal).c_str(), row.segment.c_str(),
                  row.state.c_str());
    out += line;
    for (const BacktestRun& run : result.runs) {
      const auto same = std::find_if(run.signals.begin(), run.signals.end(), [&](const auto& s) {
        return s.signal == row.signal && s.segment == row.segment && s.harm == row.harm;
      });
      std::string text = "-";
      if (same != run.signals.end() && same->armed_ms > 0) {
        text = std::to_string(same->alarms);
        if (same->alarms > 0) text += " (run " + span(*same->measured_run_ms()) + ")";
      }
      std::snprintf(cell, sizeof cell, " %-18s", text.c_str());
      out += cell;
    }
    out += "\n";
  }
  return out;
}

std::string reasons_table(const BacktestResult& result) {
  std::string out;
  for (const SignalStatus& signal : result.final_status.signals) {
    if (signal.reason.empty()) continue;
    out += "  " + signal.name + " (" + signal.segment + "): " + signal.reason + "\n";
  }
  return out.empty() ? out : "\nCALIBRATION\n" + out;
}

std::string words_text(const std::vector<WordChange>& words) {
  std::string out;
  for (const WordChange& word : words) out += (out.empty() ? "" : ", ") + word.word;
  return out;
}

std::string attribution_text(const Alarm& alarm) {
  std::string out;
  std::vector<const BinShare*> bins;
  for (const BinShare& bin : alarm.bins) bins.push_back(&bin);
  std::stable_sort(bins.begin(), bins.end(), [](const BinShare* a, const BinShare* b) {
    return std::fabs(a->log_wealth) > std::fabs(b->log_wealth);
  });
  if (bins.size() > 3) bins.resize(3);
  char line[224];
  for (const BinShare* bin : bins) {
    std::snprintf(line, sizeof line, "      %-24s %5.1f %% -> %5.1f %%  log wealth %+.2f\n",
                  bin->label.c_str(), 100.0 * bin->reference, 100.0 * bin->current,
                  bin->log_wealth);
    out += line;
  }
  if (alarm.kind == AlarmKind::kDrift) {
    std::snprintf(line, sizeof line, "      psi %.3f, js %.3f, ks %.3f\n", alarm.psi, alarm.js,
                  alarm.ks);
    out += line;
  }
  if (!alarm.words_gained.empty()) out += "      gained: " + words_text(alarm.words_gained) + "\n";
  if (!alarm.words_lost.empty()) out += "      lost: " + words_text(alarm.words_lost) + "\n";
  std::string ids;
  for (const auto& id : alarm.example_ids) ids += (ids.empty() ? "" : ", ") + id;
  if (!ids.empty()) out += "      examples: " + ids + "\n";
  return out;
}

// The drawing's frame: where a time and a log10 ratio lie.
struct Frame {
  static constexpr double kWidth = 960;
  static constexpr double kHeight = 380;
  static constexpr double kLeft = 50;
  static constexpr double kBottom = 340;
  static constexpr double kLow = -6.0;  // log10 ratio at the bottom
  static constexpr double kHigh = 1.0;
  std::int64_t first_ms = 0;
  double span_ms = 1.0;

  [[nodiscard]] double x(std::int64_t ts_ms) const {
    return kLeft + (kWidth - kLeft - 10.0) * static_cast<double>(ts_ms - first_ms) / span_ms;
  }
  [[nodiscard]] static double y(double ratio) {
    return 10.0 + (kBottom - 10.0) * (kHigh - std::clamp(ratio, kLow, kHigh)) / (kHigh - kLow);
  }
};

std::string line_svg(double x1, double y1, double x2, double y2, const std::string& style) {
  char text[160];
  std::snprintf(text, sizeof text, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", x1, y1,
                x2, y2);
  return text + style;
}

std::string text_svg(double x, double y, const std::string& words, const char* style = "") {
  char text[128];
  std::snprintf(text, sizeof text, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
  return text + escaped(words) + "</text>\n";
}

std::string axes_svg(const Frame& frame, const BacktestResult& result) {
  std::string out;
  for (int power = -6; power <= 1; ++power) {
    const double y = Frame::y(power);
    out += line_svg(Frame::kLeft, y, Frame::kWidth - 10.0, y, "stroke=\"#e5e5e5\"/>\n");
    out += text_svg(8, y + 4, "1e" + std::to_string(power), "fill=\"#777\"");
  }
  constexpr int kTicks = 4;
  for (int i = 0; i <= kTicks; ++i) {
    const auto ts_ms = result.first_ts_ms + (result.last_ts_ms - result.first_ts_ms) * i / kTicks;
    const char* anchor = i == 0        ? "fill=\"#777\""
                         : i == kTicks ? "fill=\"#777\" text-anchor=\"end\""
                                       : "fill=\"#777\" text-anchor=\"middle\"";
    out += text_svg(frame.x(ts_ms), Frame::kBottom + 14.0, format_rfc3339(ts_ms).substr(0, 16),
                    anchor);
  }
  out += line_svg(Frame::kLeft, Frame::y(0), Frame::kWidth - 10.0, Frame::y(0),
                  "stroke=\"#c0392b\" stroke-dasharray=\"4 3\"/>\n");
  out += text_svg(Frame::kLeft + 4.0, Frame::y(0) - 3.0, "evidence = threshold");
  return out;
}

std::string curves_svg(const Frame& frame, const BacktestResult& result) {
  constexpr std::array kColours = {"#1b6ca8", "#c0392b", "#2e8b57",
                                   "#8e44ad", "#b9770e", "#117a65"};
  std::vector<const EvidenceCurve*> shown;
  for (const EvidenceCurve& curve : result.curves) shown.push_back(&curve);
  const auto peak = [](const EvidenceCurve* curve) {
    return *std::max_element(curve->log10_ratio.begin(), curve->log10_ratio.end());
  };
  std::stable_sort(shown.begin(), shown.end(),
                   [&](const auto* a, const auto* b) { return peak(a) > peak(b); });
  if (shown.size() > kColours.size()) shown.resize(kColours.size());
  std::string out;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    out += "<polyline fill=\"none\" stroke=\"" + std::string(kColours[i]) + "\" points=\"";
    for (std::size_t p = 0; p < shown[i]->ts_ms.size(); ++p) {
      char point[48];
      std::snprintf(point, sizeof point, "%.1f,%.1f ", frame.x(shown[i]->ts_ms[p]),
                    Frame::y(static_cast<double>(shown[i]->log10_ratio[p])));
      out += point;
    }
    out += "\"/>\n";
    const std::string name = shown[i]->signal + " (" + shown[i]->segment + ")";
    out += text_svg(Frame::kLeft + 152.0 * static_cast<double>(i), Frame::kHeight - 8.0, name,
                    ("fill=\"" + std::string(kColours[i]) + "\"").c_str());
  }
  return out;
}

}  // namespace

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
      {"curves", Json::array()},
      {"status", to_json(result.final_status)}};
  for (const BacktestRun& run : result.runs) out["promises"].push_back(run_json(run));
  for (const Alarm& alarm : result.configured().alarms) out["alarms"].push_back(to_json(alarm));
  for (const EvidenceCurve& curve : result.curves) {
    out["curves"].push_back({{"signal", curve.signal},
                             {"segment", curve.segment},
                             {"ts_ms", curve.ts_ms},
                             {"log10_ratio", curve.log10_ratio}});
  }
  return out;
}

std::string to_table(const BacktestResult& result) {
  std::string out = std::to_string(result.records) + " records, " + std::to_string(result.counted) +
                    " counted, " + std::to_string(result.outcomes) + " outcomes, " +
                    format_rfc3339(result.first_ts_ms) + " .. " +
                    format_rfc3339(result.last_ts_ms) + "\n";
  if (result.first_armed_ts_ms == 0) {
    out += "never armed: " + std::string(monitor_state_name(result.final_status.state)) + ", " +
           std::to_string(result.final_status.collected) + " of " +
           std::to_string(result.final_status.reference_size) + " reference events\n";
  } else {
    out += "armed from " + format_rfc3339(result.first_armed_ts_ms) + " on\n";
  }
  out += promises_table(result) + signals_table(result) + reasons_table(result);
  out += "\nALARMS (configured promise)\n";
  for (const Alarm& alarm : result.configured().alarms) {
    out += "  " + std::to_string(alarm.seq) + "  " + format_rfc3339(alarm.ts_ms) + "  " +
           std::string(alarm_kind_name(alarm.kind)) + "  " + alarm.summary + "\n" +
           attribution_text(alarm);
  }
  if (result.configured().alarms.empty()) out += "  none\n";
  out += "\nRETRAININGS (configured promise)\n";
  for (const Retraining& one : result.configured().retrainings) {
    out += "  " + format_rfc3339(one.ts_ms) + "  " + one.trigger + "  " + one.message + "\n";
  }
  if (result.configured().retrainings.empty()) out += "  none\n";
  return out;
}

std::string to_svg(const BacktestResult& result) {
  Frame frame{
      .first_ms = result.first_ts_ms,
      .span_ms = std::max(1.0, static_cast<double>(result.last_ts_ms - result.first_ts_ms))};
  char text[192];
  std::snprintf(text, sizeof text,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
                "font-family=\"sans-serif\" font-size=\"11\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                Frame::kWidth, Frame::kHeight);
  std::string out = text + axes_svg(frame, result) + curves_svg(frame, result);
  for (const Alarm& alarm : result.configured().alarms) {
    const double x = frame.x(alarm.ts_ms);
    const char* colour = alarm.kind == AlarmKind::kHarm ? "#c0392b" : "#333";
    out += line_svg(x, 10, x, Frame::kBottom, "stroke=\"" + std::string(colour) + "\"><title>");
    out += escaped(alarm.summary) + "</title></line>\n";
    out += text_svg(x + 3.0, 20, std::string(alarm_kind_name(alarm.kind)));
  }
  for (const Retraining& one : result.configured().retrainings) {
    const double x = frame.x(one.ts_ms);
    out +=
        line_svg(x, 10, x, Frame::kBottom, "stroke=\"#2e8b57\" stroke-dasharray=\"2 2\"><title>");
    out += escaped("retraining: " + one.message) + "</title></line>\n";
    out += text_svg(x + 3.0, 34, "retrain", "fill=\"#2e8b57\"");
  }
  return out + "</svg>\n";
}

}  // namespace trimtab::drift
