// Explain and replay: decisions are functions of what the journal holds, so they can be made again.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "daemon/api.h"
#include "shadow/plan.h"
#include "shadow/pools.h"
#include "shadow/shadow_gate.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

// Empty: deriving the journaled transition again gives the same.
Result<std::string> derive_again(const Event& event) {
  TRIMTAB_TRY(const Json payload, parse_json(event.payload));
  if (!payload.contains("before")) return std::string();
  TRIMTAB_TRY(const auto before, shadow::parse_trial(payload.at("before")));
  TRIMTAB_TRY(const Json evidence_json, parse_json(event.evidence));
  TRIMTAB_TRY(const auto evidence, shadow::parse_evidence(evidence_json));
  const Json journaled = payload.at("transition");
  if (journaled.value("actor", "trimtab") != "trimtab") return std::string();  // an operator's
  const auto again = shadow::advance(before, evidence, payload.at("now_ms").get<std::int64_t>());
  if (shadow::to_json(again) == journaled) return std::string();
  return "derived again: " + std::string(shadow::state_name(again.to)) + " (" +
         std::string(shadow::reason_name(again.reason)) + "), journaled: " + event.to + " (" +
         event.reason + ")";
}

// An alarm again from its own numbers: PSI of the bins, and evidence against threshold.
Json explain_alarm(const Json& alarm) {
  double psi = 0.0;
  const Json bins = alarm.value("bins", Json::array());
  for (const auto& bin : bins) {
    const double p = bin.value("reference", 0.0);
    const double q = bin.value("current", 0.0);
    if (p > 0 && q > 0) psi += (q - p) * std::log(q / p);
  }
  const double evidence = alarm.value("evidence", 0.0);
  const double threshold = alarm.value("threshold", 0.0);
  const bool crossed = evidence >= threshold;
  Json row = {{"evidence", evidence},
              {"threshold", threshold},
              {"agrees", crossed},
              {"difference", crossed ? "" : "the evidence is below the threshold"},
              {"message", alarm.value("summary", "")}};
  if (!bins.empty()) row["psi_of_the_bins"] = psi;
  return row;
}

shadow::AdapterScore score_of(const Json& side) {
  shadow::AdapterScore score;
  if (side.at("match").is_boolean()) score.match = side.at("match").get<bool>();
  if (side.at("mean_logprob").is_number())
    score.mean_logprob = side.at("mean_logprob").get<double>();
  score.tokens = side.value("tokens", 0);
  return score;
}

// Closed units in their order, paired as they were live: one of each arm, metric by metric.
Result<Json> replay_units(StateQueries& state, const std::string& id, const shadow::Plan& plan) {
  TRIMTAB_TRY(const auto rows, state.decisions(id, "units"));
  std::map<std::string, shadow::PairedStream> streams;
  std::map<std::string, std::deque<double>> waiting[2];
  evidence::PairedBettingParams params;
  params.alpha = plan.alpha;
  params.alpha_harm = plan.alpha_harm;
  params.margin = plan.margin_live;
  for (const auto& row : rows) {
    TRIMTAB_TRY(const Json unit, parse_json(row.data));
    const int arm = unit.at("arm") == std::string(shadow::kArmCandidate) ? 1 : 0;
    for (const auto& [metric, bad] : unit.at("values").items()) {
      if (!bad.is_number()) continue;
      auto& mine = waiting[arm][metric];
      auto& other = waiting[1 - arm][metric];
      if (other.empty()) {
        mine.push_back(bad.get<double>());
        continue;
      }
      const double candidate = arm == 1 ? bad.get<double>() : other.front();
      const double control = arm == 1 ? other.front() : bad.get<double>();
      other.pop_front();
      streams.try_emplace(metric, metric, params).first->second.add(control - candidate);
    }
  }
  Json metrics = Json::array();
  for (const auto& [metric, stream] : streams) metrics.push_back(shadow::to_json(stream.row()));
  return metrics;
}

}  // namespace

Result<Json> Api::explain(StateQueries& state, const std::string& id) {
  Json answer = {{"id", id}, {"agrees", true}, {"decisions", Json::array()}};
  if (id.starts_with("al-")) {
    TRIMTAB_TRY(const auto document, state.document("alarm", id));
    TRIMTAB_TRY(const Json alarm, parse_json(document.data));
    answer["kind"] = "alarm";
    answer["inputs"] = alarm;
    answer["decisions"].push_back(explain_alarm(alarm));
    answer["agrees"] = answer["decisions"][0]["agrees"];
    return answer;
  }
  const bool is_trial = id.starts_with("trial-");
  TRIMTAB_TRY(const auto document, state.document(is_trial ? "trial" : "job", id));
  TRIMTAB_TRY(answer["inputs"], parse_json(document.data));
  answer["kind"] = document.kind;
  TRIMTAB_TRY(const auto events, state.events({.subject = id, .limit = 1'000}));
  for (const auto& event : events) {
    Json row = event_json(event);
    std::string difference;
    if (event.kind == "transition") {
      TRIMTAB_TRY(difference, derive_again(event));
    }
    row["agrees"] = difference.empty();
    row["difference"] = difference;
    if (!difference.empty()) answer["agrees"] = false;
    answer["decisions"].push_back(std::move(row));
  }
  return answer;
}

Result<Json> Api::replay(StateQueries& state, const std::string& id, const Json& changes) {
  TRIMTAB_TRY(const auto document, state.document("trial", id));
  TRIMTAB_TRY(const Json data, parse_json(document.data));
  TRIMTAB_TRY(const auto trial, shadow::parse_trial(data));
  TRIMTAB_TRY(const auto plan, shadow::parse_plan(trial.plan, changes));
  TRIMTAB_TRY(const auto rows, state.decisions(id, "pairs"));
  bool any_new = false, any_old = false;
  for (const auto& row : rows) {
    any_new = any_new || row.data.find("\"stratum\":\"new\"") != std::string::npos;
    any_old = any_old || row.data.find("\"stratum\":\"old\"") != std::string::npos;
  }
  shadow::ShadowGate gate(plan, !any_new, !any_old);
  for (const auto& row : rows) {
    TRIMTAB_TRY(const Json pair, parse_json(row.data));
    shadow::ScoreResult result;
    result.id = pair.at("id").get<std::string>();
    result.champion = score_of(pair.at("champion"));
    result.candidate = score_of(pair.at("candidate"));
    const bool is_new = pair.at("stratum") == "new";
    gate.add(is_new ? shadow::Stratum::kNew : shadow::Stratum::kOld, result);
  }
  const auto verdict = gate.verdict();
  TRIMTAB_TRY(const Json live, replay_units(state, id, plan));
  return Json{{"id", id},
              {"ended", std::string(shadow::state_name(trial.state))},
              {"plan", shadow::to_json(plan)},
              {"plan_hash", shadow::config_hash(plan)},
              {"same_plan", shadow::config_hash(plan) == trial.plan_hash},
              {"shadow", shadow::to_json(verdict)},
              {"live", live}};
}

}  // namespace trimtab::daemon
