// What a demo run leaves behind: report.json (documented in docs/DEMO.md, stable) and report.html,
// one self-contained page with the accuracy over time, the events and the evidence curves.
// Owned by the scenario's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::demo {

struct TimelinePoint {
  double t_s = 0;              // since the start of the scenario
  std::uint64_t answered = 0;  // in this interval
  std::uint64_t right = 0;
  double requests_per_s = 0;
};

struct TimelineEvent {
  double t_s = 0;
  std::string kind;  // phase | alarm | job | trial | promotion | rollback | undo | sabotage
  std::string text;
};

// One line of a curve: log10(evidence / threshold); an alarm is where it reaches 0.
struct EvidencePoint {
  double t_s = 0;
  double value = 0;
};

// Curves of one trial: log e over log threshold; a decision is where it reaches 1.
struct TrialCurves {
  std::string trial;
  std::map<std::string, std::vector<EvidencePoint>> curves;  // "shadow new: superior", ..
};

struct Timeline {
  std::vector<TimelinePoint> points;
  std::vector<TimelineEvent> events;
  std::map<std::string, std::vector<EvidencePoint>> evidence;  // by signal
  std::vector<TrialCurves> trials;                             // those with a series
};

// The whole page as text; `report` is what report.json holds.
[[nodiscard]] std::string render_html(const nlohmann::ordered_json& report,
                                      const Timeline& timeline);

// Writes report.json and report.html into `out` (created).
[[nodiscard]] Status write_report(const std::filesystem::path& out,
                                  const nlohmann::ordered_json& report, const Timeline& timeline);

}  // namespace trimtab::demo
