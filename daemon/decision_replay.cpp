#include "daemon/decision_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "shadow/plan.h"

namespace trimtab::daemon {
namespace {

constexpr double kTolerance = 1e-9;  // of natural logs of e-values, relative above 1

std::optional<double> number(const Json& object, const char* key) {
  const auto value = json_get<double>(object, key);
  if (!value) return std::nullopt;
  return *value;
}

shadow::AdapterScore score_of(const Json& side) {
  shadow::AdapterScore score;
  if (const auto match = json_get<bool>(side, "match")) score.match = *match;
  score.mean_logprob = number(side, "mean_logprob");
  score.latency_s = number(side, "latency_s");
  score.text_metric = number(side, "text_metric");
  score.tokens = json_or(side, "tokens", 0);
  // Advisory gates compare lengths, not texts; texts are not journaled.
  score.greedy.assign(json_or<std::size_t>(side, "chars", 0), 'x');
  return score;
}

const char* decision_of(const std::optional<std::uint64_t>& ship,
                        const std::optional<std::uint64_t>& harm) {
  if (harm && (!ship || *harm <= *ship)) return "harm";
  return ship ? "ship" : "undecided";
}

Json after(const std::optional<std::uint64_t>& index) { return index ? Json(*index + 1) : Json(); }

// How many rows a journalled transition out of a state had seen.
struct Happened {
  std::string to, reason;
  std::uint64_t rows = 0;
};
Result<std::vector<Happened>> happened(StateQueries& state, const std::string& trial,
                                       bool in_shadow) {
  TRIMTAB_TRY(const auto events,
              state.events({.subject = trial, .kind = "transition", .limit = 1'000}));
  std::vector<Happened> all;
  for (const auto& event : events) {
    const bool from_shadow = event.from == "SHADOW";
    const bool from_live = event.from == "CANARY" || event.from == "AB";
    if (event.from == event.to || event.evidence.empty() || !(in_shadow ? from_shadow : from_live))
      continue;
    TRIMTAB_TRY(const Json document, parse_json(event.evidence));
    TRIMTAB_TRY(const auto evidence, shadow::parse_evidence(document));
    Happened one{event.to, event.reason, 0};
    if (in_shadow && evidence.shadow) one.rows = evidence.shadow->pairs + evidence.shadow->missing;
    if (!in_shadow && evidence.live) {
      one.rows = evidence.live->closed_candidate + evidence.live->closed_control;
    }
    all.push_back(std::move(one));
  }
  return all;
}

Json happened_json(const std::vector<Happened>& all) {
  Json list = Json::array();
  for (const auto& one : all) {
    list.push_back({{"to", one.to}, {"reason", one.reason}, {"after", one.rows}});
  }
  return list;
}

std::string say(const char* what, const Json& part, const char* unit) {
  const auto decision = part.at("decision").get<std::string>();
  const auto rows = part.at("rows").get<std::uint64_t>();
  std::string text = std::string(what) + ": ";
  if (rows == 0) return text + "no " + unit + " were counted";
  if (decision == "undecided") {
    text += fmt::format("undecided after all {} {}", rows, unit);
  } else {
    text += fmt::format(
        "{} after {} of {} {}", decision,
        part.at(decision == "ship" ? "ship_after" : "harm_after").get<std::uint64_t>(), rows, unit);
  }
  if (!part.at("happened").empty()) {
    const Json& last = part.at("happened").back();
    text +=
        fmt::format(" (in fact: {}, {}, after {})", last.at("to").get<std::string>(),
                    last.at("reason").get<std::string>(), last.at("after").get<std::uint64_t>());
  }
  return text;
}

bool close(double a, double b) {
  return std::fabs(a - b) <= kTolerance * std::max(1.0, std::fabs(a));
}

std::string row_difference(const char* where, const std::vector<shadow::EvidenceRow>& journaled,
                           const std::vector<shadow::EvidenceRow>& again) {
  for (const auto& row : journaled) {
    const auto same = std::find_if(again.begin(), again.end(),
                                   [&](const auto& other) { return other.metric == row.metric; });
    if (same == again.end()) return fmt::format("{}: no rows of {}", where, row.metric);
    if (same->pairs == row.pairs && close(row.log_e_superior, same->log_e_superior) &&
        close(row.log_e_non_inferior, same->log_e_non_inferior) &&
        close(row.log_e_harm, same->log_e_harm)) {
      continue;
    }
    return fmt::format(
        "{} {}: journaled {} pairs, ln e {:.6g} / {:.6g} / {:.6g}; from the rows {} pairs, "
        "{:.6g} / {:.6g} / {:.6g}",
        where, row.metric, row.pairs, row.log_e_superior, row.log_e_non_inferior, row.log_e_harm,
        same->pairs, same->log_e_superior, same->log_e_non_inferior, same->log_e_harm);
  }
  return {};
}

}  // namespace

Result<JournaledPairs> journaled_pairs(StateQueries& state, const std::string& trial) {
  TRIMTAB_TRY(const auto rows, state.decisions(trial, "pairs"));
  JournaledPairs pairs;
  bool any_old = false;
  for (const auto& row : rows) {
    TRIMTAB_TRY(const Json pair, parse_json(row.data));
    shadow::ReplayPair one;
    TRIMTAB_TRY(const auto stratum, json_get<std::string>(pair, "stratum"));
    one.stratum = stratum == "new" ? shadow::Stratum::kNew : shadow::Stratum::kOld;
    any_old |= one.stratum == shadow::Stratum::kOld;
    shadow::ScoreResult scored;
    scored.id = json_or<std::string>(pair, "id", "");
    scored.champion = score_of(json_or(pair, "champion", Json::object()));
    scored.candidate = score_of(json_or(pair, "candidate", Json::object()));
    scored.judge = number(pair, "judge");
    one.scored = std::move(scored);
    const auto gate = json_or<std::string>(pair, "gate", any_old ? "" : "no_past");
    pairs.advisory |= gate == "advisory";
    pairs.no_past = gate == "no_past" || gate == "advisory, no_past";
    pairs.advisory |= gate == "advisory, no_past";
    pairs.rows.push_back(std::move(one));
  }
  return pairs;
}

Result<std::vector<shadow::LiveAb::ClosedUnit>> journaled_units(StateQueries& state,
                                                                const std::string& trial,
                                                                const char* stream) {
  TRIMTAB_TRY(const auto rows, state.decisions(trial, stream, 0, 1'000'000));
  std::vector<shadow::LiveAb::ClosedUnit> units;
  for (const auto& row : rows) {
    TRIMTAB_TRY(const Json data, parse_json(row.data));
    shadow::LiveAb::ClosedUnit unit;
    unit.unit = json_or<std::string>(data, "unit", "");
    unit.record_id = json_or<std::string>(data, "record", "");
    unit.arm = json_or<std::string>(data, "arm", "");
    unit.ts_ms = json_or<std::int64_t>(data, "ts_ms", 0);
    unit.closed_ms = json_or<std::int64_t>(data, "closed_ms", 0);
    const Json values = json_or(data, "values", Json::object());
    for (const auto& [metric, value] : values.items()) {
      unit.values.emplace_back(
          metric, value.is_number() ? std::optional(value.get<double>()) : std::nullopt);
    }
    units.push_back(std::move(unit));
  }
  return units;
}

Result<Json> replay_trial(StateQueries& state, const shadow::Trial& trial,
                          const shadow::Plan& plan) {
  TRIMTAB_TRY(const auto pairs, journaled_pairs(state, trial.id));
  TRIMTAB_TRY(const auto units, journaled_units(state, trial.id, "units"));
  const auto shadow = shadow::replay_shadow(plan, pairs.no_past, pairs.rows, pairs.advisory);
  TRIMTAB_TRY(const auto live, shadow::replay_live(plan, trial.primary_metric, units));
  TRIMTAB_TRY(const auto shadow_happened, happened(state, trial.id, true));
  TRIMTAB_TRY(const auto live_happened, happened(state, trial.id, false));
  Json answer = {{"id", trial.id},
                 {"ended", std::string(shadow::state_name(trial.state))},
                 {"plan", shadow::to_json(plan)},
                 {"plan_hash", shadow::config_hash(plan)},
                 {"same_plan", shadow::config_hash(plan) == trial.plan_hash}};
  answer["shadow"] = {{"rows", pairs.rows.size()},
                      {"decision", decision_of(shadow.ship_at, shadow.harm_at)},
                      {"ship_after", after(shadow.ship_at)},
                      {"harm_after", after(shadow.harm_at)},
                      {"happened", happened_json(shadow_happened)},
                      {"verdict", shadow::to_json(shadow.verdict)}};
  answer["live"] = {{"rows", units.size()},
                    {"primary", trial.primary_metric},
                    {"decision", decision_of(live.ship_at, live.harm_at)},
                    {"ship_after", after(live.ship_at)},
                    {"harm_after", after(live.harm_at)},
                    {"mismatch_after", after(live.srm_at)},
                    {"happened", happened_json(live_happened)},
                    {"verdict", shadow::to_json(live.verdict)}};
  answer["sentence"] = say("shadow", answer["shadow"], "pairs") + "; " +
                       say("live", answer["live"], "units") +
                       ". Evidence that was never collected is not invented.";
  return answer;
}

Result<std::string> evidence_difference(StateQueries& state, const shadow::Trial& trial,
                                        const shadow::Evidence& evidence) {
  if (evidence.shadow && !evidence.shadow->strata.empty()) {
    TRIMTAB_TRY(auto pairs, journaled_pairs(state, trial.id));
    const std::uint64_t counted = evidence.shadow->pairs + evidence.shadow->missing;
    if (pairs.rows.size() < counted) {
      return fmt::format("shadow: {} pairs were counted, {} are journaled", counted,
                         pairs.rows.size());
    }
    pairs.rows.resize(counted);
    const auto again = shadow::replay_shadow(trial.plan, pairs.no_past, pairs.rows, pairs.advisory);
    if (counted > 0) {
      const auto difference =
          row_difference("shadow", evidence.shadow->strata, again.verdict.strata);
      if (!difference.empty()) return difference;
    }
  }
  if (!evidence.live) return std::string();
  TRIMTAB_TRY(auto units, journaled_units(state, trial.id, "units"));
  const std::uint64_t counted = evidence.live->closed_candidate + evidence.live->closed_control;
  if (units.size() < counted) {
    return fmt::format("live: {} units were counted, {} are journaled", counted, units.size());
  }
  units.resize(counted);
  TRIMTAB_TRY(const auto again, shadow::replay_live(trial.plan, evidence.live->primary, units));
  return row_difference("live", evidence.live->metrics, again.verdict.metrics);
}

}  // namespace trimtab::daemon
