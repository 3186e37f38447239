// Scenario's report: everything that docs/DEMO.md promises, gathered from the daemon, the
// population and the probes.
#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "daemon/demo/scenario.h"

namespace trimtab::demo {

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
    OrderedJson row = {{"id", trial.id},
                       {"candidate", trial.candidate},
                       {"outcome", trial.state},
                       {"reason", trial.reason},
                       {"detail", trial.detail}};
    OrderedJson way = OrderedJson::array();
    if (const auto transitions = daemon_.transitions(trial.id)) {
      for (const auto& one : *transitions) {
        way.push_back(json_or<std::string>(one, "to", "") + ":" +
                      json_or<std::string>(one, "reason", ""));
      }
    }
    row["transitions"] = way;
    if (const auto evidence = daemon_.evidence(trial.id)) {
      for (const char* key : {"pairs", "closed_units", "evidence"}) {
        if (evidence->contains(key)) row[key] = evidence->at(key);
      }
    }
    rows.push_back(row);
  }
  return rows;
}

OrderedJson Scenario::report() {
  const PopulationCounts counts = population_.counts();
  int false_alarms = 0;
  for (const auto& alarm : watch_.alarms()) false_alarms += !expected_alarms_.contains(alarm.id);
  OrderedJson jobs = OrderedJson::array();
  for (const auto& job : watch_.jobs()) {
    jobs.push_back({{"id", job.id},
                    {"trigger", job.trigger},
                    {"state", job.state},
                    {"reason", job.reason},
                    {"examples", job.examples},
                    {"first_loss", job.first_loss},
                    {"final_loss", job.final_loss},
                    {"tokens_per_s", job.tokens_per_s},
                    {"seconds", job.seconds}});
  }
  OrderedJson records = OrderedJson::object();
  if (const auto by_result = daemon_.metric("trimtab_records_total", "result")) {
    double consumed = 0;
    for (const auto& [result, value] : *by_result) {
      records[result] = value;
      consumed += value;
    }
    records["consumed"] = consumed;
  }
  check(counts.failed == 0, fmt::format("{} failed requests, first: {}", counts.failed,
                                        counts.failures.empty() ? "" : counts.failures.front()));
  check(false_alarms == 0, fmt::format("{} alarms that no arrival explains", false_alarms));
  return {{"schema", 1},
          {"passed", failures_.empty()},
          {"failures", failures_},
          {"seed", options_.seed},
          {"seconds", watch_.seconds()},
          {"phases", phases_},
          {"drifts", drifts_},
          {"false_alarms", false_alarms},
          {"jobs", jobs},
          {"trials", trials_report()},
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
