// What the demo says about itself: alarms are explained or false, the page loads nothing.
#include <gtest/gtest.h>

#include "base/json.h"
#include "daemon/demo/report.h"
#include "daemon/demo/scenario.h"

namespace trimtab::demo {
namespace {

AlarmView alarm(const char* id, const char* kind, std::int64_t ts_ms) {
  AlarmView made;
  made.id = id;
  made.kind = kind;
  made.ts_ms = ts_ms;
  return made;
}

std::vector<std::string> causes_of(const std::vector<AlarmView>& alarms,
                                   const std::vector<Cause>& causes) {
  std::vector<std::string> names;
  for (const auto& one : explain_alarms(alarms, causes)) {
    names.push_back(one.cause == nullptr ? "" : one.cause->name + one.cause->domain);
  }
  return names;
}

TEST(ExplainAlarms, OnlyWhatHasACauseIsNoFalseAlarm) {
  const std::vector<Cause> causes = {{"arrival", ":x", 10, 10'000, 50'000},
                                     {"arrival", ":y", 100, 100'000, 150'000},
                                     {"poisoned_corrections", "", 200, 200'000, 210'000},
                                     {"undo", "", 300, 300'000, 0}};
  using Names = std::vector<std::string>;
  EXPECT_EQ(causes_of({alarm("1", "drift", 9'999)}, causes), Names({""})) << "before anything";
  EXPECT_EQ(causes_of({alarm("1", "drift", 11'000), alarm("2", "harm", 12'000),
                       alarm("3", "harm", 13'000), alarm("4", "drift", 40'000)},
                      causes),
            Names({"arrival:x", "arrival:x", "arrival:x", ""}))
      << "drift is latched: a second one is another event, and there was none";
  EXPECT_EQ(causes_of({alarm("1", "drift", 80'000)}, causes), Names({""})) << "between two";
  EXPECT_EQ(causes_of({alarm("1", "drift", 101'000)}, causes), Names({"arrival:y"}));
  EXPECT_EQ(causes_of({alarm("1", "harm", 205'000), alarm("2", "drift", 206'000)}, causes),
            Names({"poisoned_corrections", ""}));
  EXPECT_EQ(causes_of({alarm("1", "harm", 900'000)}, causes), Names({"undo"}));
}

TEST(EvidenceRows, NameStageMetricAndBothEnds) {
  const Json row = {{"metric", "new"}, {"pairs", 64},         {"mean_d", .5},
                    {"harm", false},   {"log_e_superior", 4}, {"log_threshold", 3}};
  const Json evidence = {{"offline", {{"old_pairs", 300}, {"old_mean_d", -.2}}},
                         {"shadow", {{"strata", {row}}}},
                         {"live", nullptr}};
  const auto rows = evidence_rows(evidence);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].at("stage"), "screen");
  EXPECT_EQ(rows[0].at("pairs"), 300);
  EXPECT_EQ(rows[2].at("stage"), "shadow");
  EXPECT_EQ(rows[2].at("log_e_superior"), 4);
  EXPECT_TRUE(evidence_rows(Json::object()).empty());
}

TEST(ReportPage, IsSelfContainedAndSafe) {
  Timeline timeline;
  timeline.points = {{1, 100, 90, 100}, {2, 100, 50, 100}};
  timeline.events = {{1.5, "alarm", "drift <script>alert(1)</script>"}};
  timeline.evidence["input_novelty"] = {{1, -9}, {2, 0.5}};
  timeline.trials = {{"trial-1", {{"shadow, new: superior", {{1, 0.1}, {2, 1.2}}}}}};
  OrderedJson report = {{"passed", false}, {"failures", {"a <b> failure"}}};
  const auto html = render_html(report, timeline);
  for (const char* loads : {"<script", "src=", "href=", "http:", "https:", "url(", "@import"}) {
    EXPECT_EQ(html.find(loads), std::string::npos) << loads;
  }
  for (const char* sign : {"failed", "a &lt;b&gt; failure", "&lt;script&gt;", "input_novelty",
                           "trial-1", "shadow, new: superior", "<svg"}) {
    EXPECT_NE(html.find(sign), std::string::npos) << sign;
  }
}

}  // namespace
}  // namespace trimtab::demo
