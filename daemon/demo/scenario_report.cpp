// Scenario's report: everything that docs/DEMO.md promises, gathered from the daemon, the
// population and the probes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "daemon/demo/scenario.h"

namespace trimtab::demo {
namespace {

void add_row(OrderedJson& rows, const char* stage, const Json& row) {
  OrderedJson out = {{"stage", stage}};
  for (const char* key : {"metric", "pairs", "mean_d", "log_e_superior", "log_e_non_inferior",
                          "log_e_harm", "log_threshold", "log_threshold_harm", "superior",
                          "non_inferior", "harm", "mean_lower", "mean_upper"}) {
    if (row.contains(key)) out[key] = row.at(key);
  }
  rows.push_back(std::move(out));
}

Json object_of(const Json& object, const char* key) {
  auto value = json_or<Json>(object, key, Json::object());
  return value.is_object() ? value : Json::object();
}

// Units an arm and sample ratios of a live comparison; null where it never began.
OrderedJson live_part(const Json& live) {
  if (live.empty()) return nullptr;
  const auto srm = [](const Json& row) {
    return OrderedJson{{"candidate", json_or<std::int64_t>(row, "candidate", 0)},
                       {"control", json_or<std::int64_t>(row, "control", 0)},
                       {"share_lower", json_or<double>(row, "lower", 0.0)},
                       {"share_upper", json_or<double>(row, "upper", 1.0)},
                       {"mismatch", json_or<bool>(row, "mismatch", false)}};
  };
  return {{"units",
           {{"candidate", json_or<std::int64_t>(live, "closed_candidate", 0)},
            {"control", json_or<std::int64_t>(live, "closed_control", 0)}}},
          {"srm",
           {{"exposed", srm(object_of(live, "exposed"))},
            {"labelled", srm(object_of(live, "labelled"))}}}};
}

}  // namespace

OrderedJson evidence_rows(const Json& evidence) {
  OrderedJson rows = OrderedJson::array();
  const Json screen = object_of(evidence, "offline");
  if (!screen.empty()) {
    rows.push_back({{"stage", "screen"},
                    {"metric", "old"},
                    {"pairs", json_or<std::int64_t>(screen, "old_pairs", 0)},
                    {"mean_d", json_or<double>(screen, "old_mean_d", 0.0)}});
    rows.push_back({{"stage", "screen"},
                    {"metric", "new"},
                    {"pairs", json_or<std::int64_t>(screen, "new_pairs", 0)},
                    {"mean_d", json_or<double>(screen, "new_mean_d", 0.0)}});
  }
  const auto list = [&](const char* stage, const char* key, const char* rows_key) {
    for (const auto& row : json_or<Json>(object_of(evidence, key), rows_key, Json::array())) {
      add_row(rows, stage, row);
    }
  };
  list("shadow", "shadow", "strata");
  list("live", "live", "metrics");
  list("bake", "bake", "metrics");
  return rows;
}

OrderedJson Scenario::accuracy_report() const {
  OrderedJson rows = OrderedJson::array();
  for (const auto& run : probes_) {
    for (const auto& [domain, right] : run.right) {
      const auto hits = std::count(right.begin(), right.end(), true);
      rows.push_back({{"after", run.after},
                      {"domain", domain},
                      {"accuracy", static_cast<double>(hits) / static_cast<double>(right.size())},
                      {"n", right.size()}});
    }
  }
  return rows;
}

OrderedJson Scenario::trials_report() {
  OrderedJson rows = OrderedJson::array();
  for (const auto& trial : watch_.trials()) {
    OrderedJson row = {{"id", trial.id},           {"candidate", trial.candidate},
                       {"origin", trial.origin},   {"outcome", trial.state},
                       {"reason", trial.reason},   {"detail", trial.detail},
                       {"message", trial.message}, {"transitions", OrderedJson::array()},
                       {"pairs", 0},               {"units", nullptr},
                       {"srm", nullptr},           {"evidence", OrderedJson::array()}};
    if (const auto transitions = daemon_.transitions(trial.id)) {
      for (const auto& one : *transitions) {
        const auto at_ms = json_or<std::int64_t>(one, "ts_ms", 0);
        row["transitions"].push_back({{"s", watch_.seconds_at(at_ms)},
                                      {"to", json_or<std::string>(one, "to", "")},
                                      {"reason", json_or<std::string>(one, "reason", "")},
                                      {"message", json_or<std::string>(one, "message", "")}});
      }
    }
    if (const auto answer = daemon_.evidence(trial.id)) {
      const Json evidence = object_of(*answer, "evidence");
      row["pairs"] = json_or<std::int64_t>(*answer, "pairs", 0);
      const OrderedJson live = live_part(object_of(evidence, "live"));
      if (!live.is_null()) row.update(live);
      row["evidence"] = evidence_rows(evidence);
      watch_.keep_series(trial.id, json_or<Json>(*answer, "series", Json::array()));
    }
    rows.push_back(row);
  }
  return rows;
}

OrderedJson Scenario::jobs_report() const {
  OrderedJson rows = OrderedJson::array();
  for (const auto& job : watch_.jobs()) {
    rows.push_back({{"id", job.id},
                    {"trigger", job.trigger},
                    {"state", job.state},
                    {"reason", job.reason},
                    {"examples", job.examples},
                    {"quarantined", job.dropped_quarantined},
                    {"first_loss", job.first_loss},
                    {"final_loss", job.final_loss},
                    {"tokens_per_s", job.tokens_per_s},
                    {"seconds", job.seconds}});
  }
  return rows;
}

OrderedJson Scenario::drifts_report() const {
  OrderedJson rows = OrderedJson::array();
  for (const auto& [alarm, cause] : explain_alarms(watch_.alarms(), causes_)) {
    if (cause == nullptr) continue;
    rows.push_back({{"cause", cause->name},
                    {"domain", cause->domain},
                    {"onset_s", cause->start_s},
                    {"alarm_s", watch_.seconds_at(alarm->ts_ms)},
                    {"delay_records", alarm->delay_records},
                    {"kind", alarm->kind},
                    {"signal", alarm->signal},
                    {"attribution", alarm->summary}});
  }
  return rows;
}

OrderedJson Scenario::records_report() {
  OrderedJson records = OrderedJson::object();
  const auto by_result = daemon_.metric("trimtab_records_total", "result");
  if (!by_result) {
    check(false, "the daemon's counters could not be read: " + by_result.error().message);
    return records;
  }
  const auto count = [&](const char* result) {
    const auto found = by_result->find(result);
    return found == by_result->end() ? std::int64_t{0} : static_cast<std::int64_t>(found->second);
  };
  std::int64_t consumed = 0;
  for (const auto& [result, value] : *by_result) consumed += static_cast<std::int64_t>(value);
  records = {{"consumed", consumed},
             {"accepted", count("accepted")},
             {"dead_lettered", count("dead_letter")},
             {"probes", count("probe")},
             {"duplicates", count("duplicate")}};
  check(count("dead_letter") == 0,
        fmt::format("{} records were dead-lettered", count("dead_letter")));
  return records;
}

void Scenario::judge_alarms() {
  for (const auto& [alarm, cause] : explain_alarms(watch_.alarms(), causes_)) {
    if (cause != nullptr) continue;
    check(false, fmt::format("false alarm {} at {:.0f} s: {} {}", alarm->id,
                             watch_.seconds_at(alarm->ts_ms), alarm->kind, alarm->summary));
  }
}

OrderedJson Scenario::report() {
  const PopulationCounts counts = population_.counts();
  const auto explained = explain_alarms(watch_.alarms(), causes_);
  const auto false_alarms =
      std::count_if(explained.begin(), explained.end(),
                    [](const CausedAlarm& one) { return one.cause == nullptr; });
  judge_alarms();
  check(counts.failed == 0, fmt::format("{} failed requests, first: {}", counts.failed,
                                        counts.failures.empty() ? "" : counts.failures.front()));
  const OrderedJson records = records_report();
  const OrderedJson trials = trials_report();
  return {{"schema", 1},
          {"passed", failures_.empty()},
          {"failures", failures_},
          {"seed", options_.seed},
          {"seconds", watch_.seconds()},
          {"phases", phases_},
          {"drifts", drifts_report()},
          {"false_alarms", false_alarms},
          {"jobs", jobs_report()},
          {"trials", trials},
          {"sabotage", sabotage_},
          {"accuracy", accuracy_report()},
          {"requests",
           {{"sent", counts.sent},
            {"answered", counts.answered},
            {"failed", counts.failed},
            {"refused_429", counts.refused}}},
          {"records", records}};
}

}  // namespace trimtab::demo
