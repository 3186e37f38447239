#include "daemon/demo/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::demo {
namespace {

constexpr double kWidth = 1040, kLeft = 46, kRight = 12;

std::string escape(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '&': safe += "&amp;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += c;
    }
  }
  return safe;
}

const char* color_of(const std::string& kind) {
  if (kind == "alarm") return "#c2410c";
  if (kind == "promotion") return "#15803d";
  if (kind == "rollback" || kind == "sabotage") return "#b91c1c";
  if (kind == "phase") return "#475569";
  return "#1d4ed8";
}

// A chart's frame: maps time and value to the page.
struct Frame {
  double end_s, low, high, height;
  double start_s = 0;
  [[nodiscard]] double x(double t_s) const {
    const double share = (t_s - start_s) / std::max(1.0, end_s - start_s);
    return kLeft + (kWidth - kLeft - kRight) * std::clamp(share, 0.0, 1.0);
  }
  [[nodiscard]] double y(double value) const {
    const double clipped = std::clamp(value, low, high);
    return 10 + (height - 34) * (high - clipped) / (high - low);
  }
};

std::string axis(const Frame& frame, const std::vector<double>& marks, const char* format) {
  std::string svg;
  for (const double mark : marks) {
    svg += fmt::format("<line class=grid x1={0} x2={1} y1={2:.1f} y2={2:.1f} />", kLeft,
                       kWidth - kRight, frame.y(mark));
    svg += fmt::format("<text class=axis x={} y={:.1f} text-anchor=end>{}</text>", kLeft - 6,
                       frame.y(mark) + 4, fmt::format(fmt::runtime(format), mark));
  }
  const double span = frame.end_s - frame.start_s;
  const double step = span > 600 ? 120 : span > 240 ? 60 : span > 60 ? 30 : 5;
  for (double t = std::ceil(frame.start_s / step) * step; t <= frame.end_s; t += step) {
    svg += fmt::format("<text class=axis x={:.1f} y={} text-anchor=middle>{:.0f} s</text>",
                       frame.x(t), frame.height - 6, t);
  }
  return svg;
}

std::string event_marks(const Frame& frame, const std::vector<TimelineEvent>& events) {
  std::string svg;
  for (const auto& event : events) {
    svg += fmt::format(
        "<g><line x1={0:.1f} x2={0:.1f} y1=10 y2={1} stroke={2} stroke-opacity=.7 {3}/>"
        "<title>{4:.1f} s: {5}</title></g>",
        frame.x(event.t_s), frame.height - 24, color_of(event.kind),
        event.kind == "phase" ? "stroke-dasharray='4 3'" : "", event.t_s, escape(event.text));
  }
  return svg;
}

std::string accuracy_chart(const Timeline& timeline, double end_s) {
  const Frame frame{end_s, 0, 1, 240, 0};
  std::string path;
  for (const auto& point : timeline.points) {
    if (point.answered == 0) continue;
    const double share = static_cast<double>(point.right) / static_cast<double>(point.answered);
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : " L", frame.x(point.t_s),
                        frame.y(share));
  }
  return fmt::format(
      "<svg viewBox='0 0 {} {}' role=img aria-label='accuracy over time'>{}{}"
      "<path d='{}' fill=none stroke=#0f172a stroke-width=1.8 /></svg>",
      kWidth, frame.height, axis(frame, {0, .25, .5, .75, 1}, "{:.2f}"),
      event_marks(frame, timeline.events), path);
}

using Curves = std::map<std::string, std::vector<EvidencePoint>>;

// All curves in one frame, with a red line where a decision falls.
std::string curves_chart(const Curves& curves, const Frame& frame, double threshold,
                         const std::vector<double>& marks, const char* format,
                         const std::vector<TimelineEvent>& events, const char* label) {
  static const char* const kColors[] = {"#c2410c", "#1d4ed8", "#15803d", "#7e22ce",
                                        "#0e7490", "#a16207", "#be185d", "#475569"};
  std::string lines;
  std::string legend;
  std::size_t index = 0;
  for (const auto& [name, points] : curves) {
    const char* color = kColors[index++ % std::size(kColors)];
    std::string path;
    for (const auto& point : points) {
      path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : " L", frame.x(point.t_s),
                          frame.y(point.value));
    }
    lines +=
        fmt::format("<path d='{}' fill=none stroke={} stroke-width=1.4><title>{}</title></path>",
                    path, color, escape(name));
    legend += fmt::format("<span style='color:{}'>{}</span> ", color, escape(name));
  }
  lines += fmt::format("<line x1={0} x2={1} y1={2:.1f} y2={2:.1f} stroke=#b91c1c stroke-width=1 />",
                       kLeft, kWidth - kRight, frame.y(threshold));
  return fmt::format(
      "<svg viewBox='0 0 {} {}' role=img aria-label='{}'>{}{}{}</svg><p class=legend>{}</p>",
      kWidth, frame.height, label, axis(frame, marks, format), event_marks(frame, events), lines,
      legend);
}

std::string trial_charts(const Timeline& timeline) {
  std::string html;
  for (const auto& trial : timeline.trials) {
    double start_s = 1e12, end_s = 0;
    for (const auto& [name, points] : trial.curves) {
      start_s = std::min(start_s, points.front().t_s);
      end_s = std::max(end_s, points.back().t_s);
    }
    if (end_s <= start_s) continue;  // it ended before there was evidence to draw
    const Frame frame{end_s + 1, -1, 1.5, 200, std::max(0.0, start_s - 1)};
    std::vector<TimelineEvent> events;
    for (const auto& event : timeline.events) {
      const bool inside = event.t_s >= frame.start_s && event.t_s <= frame.end_s;
      if (inside && event.text.starts_with(trial.trial + " ")) events.push_back(event);
    }
    html += "<h3>" + escape(trial.trial) + "</h3>" +
            curves_chart(trial.curves, frame, 1, {-1, 0, 1}, "{:.0f}", events,
                         "evidence of a trial over time");
  }
  return html.empty() ? html
                      : "<h2>Evidence of each trial: log e over log threshold, decided at 1</h2>" +
                            html;
}

// Lists are a line an item; an object is "name value, ..", but values only in a list of like ones.
std::string cell(const OrderedJson& value, bool named = true) {
  if (value.is_string()) return escape(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_structured()) return escape(dump_json(value));
  std::string html;
  for (const auto& [key, part] : value.items()) {
    if (!html.empty()) html += value.is_array() ? "<br>" : named ? ", " : " ";
    if (value.is_object() && named) html += escape(key) + " ";
    html += cell(part, !value.is_array() && named);
  }
  return html;
}

// A list of objects as a table, its columns in the order of the first object.
std::string table(const char* title, const OrderedJson& rows) {
  if (!rows.is_array() || rows.empty() || !rows[0].is_object()) return "";
  std::string html = fmt::format("<h2>{}</h2><table><tr>", title);
  for (const auto& [key, unused] : rows[0].items()) html += "<th>" + escape(key) + "</th>";
  html += "</tr>";
  for (const auto& row : rows) {
    html += "<tr>";
    for (const auto& [key, unused] : rows[0].items()) {
      html += "<td>" + (row.contains(key) ? cell(row.at(key)) : "") + "</td>";
    }
    html += "</tr>";
  }
  return html + "</table>";
}

std::string event_list(const std::vector<TimelineEvent>& events) {
  std::string html = "<h2>What happened</h2><table><tr><th>s</th><th>kind</th><th>event</th></tr>";
  for (const auto& event : events) {
    html += fmt::format("<tr><td>{:.1f}</td><td style='color:{}'>{}</td><td>{}</td></tr>",
                        event.t_s, color_of(event.kind), event.kind, escape(event.text));
  }
  return html + "</table>";
}

constexpr const char* kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;"
    "color:#0f172a}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "td,th{padding:.2rem .6rem;min-width:4rem;border-bottom:1px solid #e2e8f0;text-align:left}"
    "td,th{vertical-align:top}"
    "svg{width:100%;height:auto}.grid{stroke:#e2e8f0}.axis{font-size:11px;fill:#64748b}"
    ".passed{color:#15803d}.failed{color:#b91c1c}.legend{font-size:12px}";

}  // namespace

std::string render_html(const OrderedJson& report, const Timeline& timeline) {
  double end_s = 1;
  for (const auto& point : timeline.points) end_s = std::max(end_s, point.t_s);
  for (const auto& event : timeline.events) end_s = std::max(end_s, event.t_s);
  const bool passed = report.value("passed", false);
  std::string html = fmt::format(
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
      "content='width=device-width'><title>trimtab demo</title><style>{}</style>"
      "<h1>trimtab demo: <span class={}>{}</span></h1>",
      kStyle, passed ? "passed" : "failed", passed ? "passed" : "failed");
  for (const auto& failure : report.value("failures", OrderedJson::array())) {
    html += "<p class=failed>" + cell(failure) + "</p>";
  }
  html += "<h2>Share of right answers, as users saw them</h2>" + accuracy_chart(timeline, end_s);
  html += "<h2>Evidence of each detector against its threshold</h2>" +
          curves_chart(timeline.evidence, {end_s, -12, 2, 260, 0}, 0, {-12, -9, -6, -3, 0},
                       "1e{:.0f}", timeline.events, "evidence over time");
  html += trial_charts(timeline);
  for (const auto& [key, title] : std::vector<std::pair<std::string, const char*>>{
           {"accuracy", "Accuracy on held-out sentences, through the gateway"},
           {"phases", "Phases"},
           {"drifts", "Drifts"},
           {"jobs", "Training jobs"},
           {"trials", "Trials"},
           {"sabotage", "Sabotage"}}) {
    if (report.contains(key)) html += table(title, report.at(key));
  }
  return html + event_list(timeline.events) + "</html>\n";
}

Status write_report(const std::filesystem::path& out, const OrderedJson& report,
                    const Timeline& timeline) {
  TRIMTAB_CHECK_OK(make_folders(out));
  TRIMTAB_CHECK_OK(write_atomic(out / "report.json", dump_json(report, 2) + "\n"));
  return write_atomic(out / "report.html", render_html(report, timeline));
}

}  // namespace trimtab::demo
