// Explain and replay: see explain.h.
#include "daemon/explain.h"

#include <cmath>

#include "base/clock.h"
#include "base/json.h"
#include "daemon/decision_replay.h"
#include "daemon/policy_journal.h"
#include "drift/derivation.h"
#include "shadow/plan.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

// Empty: deriving the journaled transition again gives the same.
Result<std::string> derive_again(StateQueries& state, const Event& event) {
  TRIMTAB_TRY(const Json payload, parse_json(event.payload));
  if (!payload.contains("before")) return std::string();
  TRIMTAB_TRY(const auto before, shadow::parse_trial(payload.at("before")));
  TRIMTAB_TRY(const Json evidence_json, parse_json(event.evidence));
  TRIMTAB_TRY(const auto evidence, shadow::parse_evidence(evidence_json));
  const Json journaled = payload.at("transition");
  if (journaled.value("actor", "trimtab") != "trimtab") return std::string();  // an operator's
  // First the evidence from its rows, then the transition from the evidence.
  TRIMTAB_TRY(const auto difference, evidence_difference(state, before, evidence));
  if (!difference.empty()) return difference;
  const auto again = shadow::advance(before, evidence, payload.at("now_ms").get<std::int64_t>());
  if (shadow::to_json(again) == journaled) return std::string();
  return "derived again: " + std::string(shadow::state_name(again.to)) + " (" +
         std::string(shadow::reason_name(again.reason)) + "), journaled: " + event.to + " (" +
         event.reason + ")";
}

// An alarm again from its trail: the state at a checkpoint and every event since.
Result<Json> explain_alarm(StateQueries& state, const std::string& id, const Json& alarm) {
  const double evidence = json_or(alarm, "evidence", 0.0);
  const double threshold = json_or(alarm, "threshold", 0.0);
  Json row = {{"ts", json_or<std::string>(alarm, "ts", "")},
              {"to", json_or<std::string>(alarm, "kind", "")},
              {"reason", json_or<std::string>(alarm, "signal", "")},
              {"message", json_or<std::string>(alarm, "summary", "")},
              {"evidence", evidence},
              {"threshold", threshold}};
  TRIMTAB_TRY(const auto trails, state.decisions(id, "trail"));
  if (trails.empty()) {
    row["agrees"] = false;
    row["difference"] = "its trail is not in the journal (an older version, or past retention)";
    return row;
  }
  TRIMTAB_TRY(const auto derived, drift::derive_again_text(trails.front().data));
  row["derived"] = {{"evidence", derived.evidence},
                    {"threshold", derived.threshold},
                    {"delay_events", derived.delay_events},
                    {"events", derived.events},
                    {"evidence_before", derived.evidence_before},
                    {"log10_ratio", derived.path}};
  std::string difference;
  const auto off = [](double a, double b) { return std::fabs(a - b) > 1e-5 * std::fabs(a); };
  if (off(evidence, derived.evidence)) {
    difference = "derived again: evidence " + std::to_string(derived.evidence) + ", journaled " +
                 std::to_string(evidence);
  } else if (off(threshold, derived.threshold)) {
    difference = "the trail's threshold is another";
  } else if (derived.evidence < derived.threshold) {
    difference = "the evidence is below the threshold";
  } else if (derived.delay_events != json_or<std::uint64_t>(alarm, "delay_events", 0)) {
    difference = "derived again: seen after " + std::to_string(derived.delay_events) + " events";
  }
  row["agrees"] = difference.empty();
  row["difference"] = difference;
  return row;
}

// The policy's decision to start a job, from the inputs that it had.
Result<Json> explain_policy(StateQueries& state, const std::string& id) {
  TRIMTAB_TRY(const auto rows, state.decisions(id, "policy"));
  if (rows.empty()) return Json();
  TRIMTAB_TRY(const Json journaled, parse_json(rows.front().data));
  TRIMTAB_TRY(const std::string difference, policy_difference(journaled));
  return Json{{"to", "start"},
              {"reason", journaled.at("decision").value("reason", "")},
              {"message", journaled.at("decision").value("message", "")},
              {"evidence", journaled.at("inputs")},
              {"agrees", difference.empty()},
              {"difference", difference}};
}

}  // namespace

Result<Json> explain_subject(StateQueries& state, const std::string& id) {
  Json answer = {{"id", id}, {"agrees", true}, {"decisions", Json::array()}};
  if (id.starts_with("al-")) {
    TRIMTAB_TRY(const auto document, state.document("alarm", id));
    TRIMTAB_TRY(const Json alarm, parse_json(document.data));
    answer["kind"] = "alarm";
    answer["inputs"] = alarm;
    TRIMTAB_TRY(Json row, explain_alarm(state, id, alarm));
    answer["agrees"] = row["agrees"];
    answer["decisions"].push_back(std::move(row));
    return answer;
  }
  const bool is_trial = id.starts_with("trial-");
  TRIMTAB_TRY(const auto document, state.document(is_trial ? "trial" : "job", id));
  TRIMTAB_TRY(answer["inputs"], parse_json(document.data));
  answer["kind"] = document.kind;
  if (!is_trial) {
    TRIMTAB_TRY(Json row, explain_policy(state, id));
    if (row.is_object()) {
      answer["agrees"] = row["agrees"];
      answer["decisions"].push_back(std::move(row));
    }
  }
  TRIMTAB_TRY(const auto events, state.events({.subject = id, .limit = 1'000}));
  for (const auto& event : events) {
    Json row = {{"seq", event.seq},       {"ts", format_rfc3339(event.ts_ms)},
                {"kind", event.kind},     {"from", event.from},
                {"to", event.to},         {"actor", event.actor},
                {"reason", event.reason}, {"message", event.message}};
    if (!event.evidence.empty()) {
      TRIMTAB_TRY(row["evidence"], parse_json(event.evidence));
    }
    std::string difference;
    if (event.kind == "transition") {
      TRIMTAB_TRY(difference, derive_again(state, event));
    }
    row["agrees"] = difference.empty();
    row["difference"] = difference;
    if (!difference.empty()) answer["agrees"] = false;
    answer["decisions"].push_back(std::move(row));
  }
  return answer;
}

Result<Json> replay_subject(StateQueries& state, const std::string& id, const Json& changes) {
  TRIMTAB_TRY(const auto document, state.document("trial", id));
  TRIMTAB_TRY(const Json data, parse_json(document.data));
  TRIMTAB_TRY(const auto trial, shadow::parse_trial(data));
  TRIMTAB_TRY(const auto plan, shadow::parse_plan(trial.plan, changes));
  return replay_trial(state, trial, plan);
}

}  // namespace trimtab::daemon
