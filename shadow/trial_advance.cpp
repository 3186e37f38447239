// The rules of the trial that outrank its states: rollback, harm, a newer candidate, dwell; the
// table of legal transitions; advance(), which asks the rules in order (trial.h says which).
#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <utility>

#include "base/json.h"
#include "shadow/trial_rules.h"

namespace trimtab::shadow {

using rules::Context;
using rules::Decision;
using rules::enter;
using rules::result_of;
using rules::roll_back;
using rules::routing_key;

namespace {

// --- rule 1: a rollback finishes, with or without the fleet's help
Decision finish_rollback(const Context& at) {
  if (at.trial.state != State::kRollingBack) return std::nullopt;
  bool done = !at.trial.routed;
  std::string how = "no routing document ever named the candidate";
  if (!done) {
    const EffectResult* written = result_of(at, routing_key(at.trial));
    const bool is_written = written != nullptr && written->status == EffectStatus::kApplied;
    const std::uint64_t acked = at.evidence.acked_generation;
    if (is_written && (acked == 0 || acked >= written->generation)) {
      done = true;
      how = "routing is back on " + at.trial.champion.label();
    } else if (is_written && at.in_state_ms() >= at.trial.plan.max_dwell.rolling_back_ms) {
      done = true;
      how = "routing is back on " + at.trial.champion.label() + "; router " +
            at.evidence.slow_router + " has not acknowledged: its document expires by itself";
    }
  }
  if (!done) return std::nullopt;
  return enter(at, at.trial.ending, Reason::kRolledBack, at.trial.end_detail, how);
}

// --- rule 2: harm and hard breaches, whatever else holds
std::string row_message(const std::vector<EvidenceRow>& rows, const std::string& metric) {
  for (const EvidenceRow& row : rows) {
    if (row.metric != metric) continue;
    return fmt::format(
        "{}: mean difference {:+.4f} over {} pairs, evidence of harm e^{:.2f} "
        "(threshold e^{:.2f})",
        metric, row.mean_d, row.pairs, row.log_e_harm, row.log_threshold_harm);
  }
  return metric;
}

std::string slo_breach(const Context& at) {
  if (!at.evidence.slo_breach.empty()) return at.evidence.slo_breach;
  const bool after_ab = at.trial.state == State::kPromoting || at.trial.state == State::kBaking;
  const auto& live = after_ab ? at.evidence.bake : at.evidence.live;
  return live ? live->slo_breach : std::string();
}

Decision harm_rule(const Context& at) {
  const State state = at.trial.state;
  const std::string breach = slo_breach(at);
  if (is_live(state) && !breach.empty()) {
    return roll_back(at, State::kRolledBack, Reason::kSloBreach, breach,
                     "the candidate's arm broke a hard limit: " + breach);
  }
  const bool live = state == State::kCanary || state == State::kAb || state == State::kPromoting;
  if (live && at.evidence.live && at.evidence.live->harm) {
    const std::string& metric = at.evidence.live->harm_on;
    return roll_back(at, State::kRolledBack, Reason::kLiveHarm, metric,
                     row_message(at.evidence.live->metrics, metric));
  }
  const bool baking = state == State::kBaking || state == State::kPromoting;
  if (baking && at.evidence.bake && at.evidence.bake->harm) {
    const std::string& metric = at.evidence.bake->harm_on;
    return roll_back(at, State::kRolledBack, Reason::kBakeHarm, metric,
                     row_message(at.evidence.bake->metrics, metric));
  }
  if ((state == State::kShadow || state == State::kAwaitApproval) && at.evidence.shadow &&
      at.evidence.shadow->harm) {
    const std::string& stratum = at.evidence.shadow->harm_on;
    const State end = state == State::kShadow ? State::kRejected : State::kAborted;
    Transition transition = enter(at, end, Reason::kShadowHarm, stratum,
                                  row_message(at.evidence.shadow->strata, stratum));
    transition.next.harm = true;
    return transition;
  }
  return std::nullopt;
}

// --- rule 3: a newer candidate for the same drift
Decision supersede_rule(const Context& at) {
  if (at.trial.state > State::kShadow || !at.trial.plan.supersede ||
      at.evidence.newer_candidate.empty() ||
      at.evidence.newer_candidate == at.trial.candidate.name) {
    return std::nullopt;
  }
  return enter(at, State::kSuperseded, Reason::kSuperseded, at.evidence.newer_candidate,
               "candidate " + at.evidence.newer_candidate + " answers the same drift");
}

// --- rule 4: every state has a maximal dwell
std::int64_t max_dwell_ms(const Trial& trial) {
  const auto& most = trial.plan.max_dwell;
  switch (trial.state) {
    case State::kRegistered: return most.registered_ms;
    case State::kOfflineEval: return most.offline_eval_ms;
    case State::kLoading: return most.loading_ms;
    case State::kShadow: return most.shadow_ms;
    case State::kAwaitApproval: return most.await_approval_ms;
    case State::kCanary: return most.canary_step_ms;
    case State::kAb: return most.ab_ms;
    case State::kPromoting: return most.promoting_ms;
    case State::kBaking: return most.baking_ms;
    default: return most.rolling_back_ms;
  }
}

Decision dwell_rule(const Context& at) {
  if (at.in_state_ms() < max_dwell_ms(at.trial)) return std::nullopt;
  const std::string name(state_name(at.trial.state));
  const std::string waited = waits_for(at.trial, at.evidence, at.now_ms);
  switch (at.trial.state) {
    case State::kLoading: return enter(at, State::kRejected, Reason::kLoadFailed, "dwell", waited);
    case State::kShadow: {
      return enter(at, State::kInconclusive, Reason::kDwellExceeded, name, waited);
    }
    case State::kAwaitApproval:
      return enter(at, State::kAborted, Reason::kApprovalExpired, name, "nobody approved in time");
    case State::kCanary:
    case State::kAb:
    case State::kPromoting:
    case State::kBaking:
      return roll_back(at, State::kInconclusive, Reason::kDwellExceeded, name, waited);
    case State::kRollingBack:
      return std::nullopt;  // rule 1 ends it as soon as the document is written
    default: return enter(at, State::kInconclusive, Reason::kDwellExceeded, name, waited);
  }
}

}  // namespace

bool is_legal(State from, State to) {
  if (is_end(from)) return false;
  if (from == to) return true;
  if (from == State::kRollingBack) {
    return to == State::kRolledBack || to == State::kAborted || to == State::kInconclusive;
  }
  if (to == State::kRollingBack) return true;  // operator, from any open state
  const auto any_of = [to](std::initializer_list<State> legal) {
    return std::find(legal.begin(), legal.end(), to) != legal.end();
  };
  switch (from) {
    case State::kRegistered:
      return any_of(
          {State::kOfflineEval, State::kRejected, State::kSuperseded, State::kInconclusive});
    case State::kOfflineEval:
      return any_of({State::kLoading, State::kRejected, State::kSuperseded, State::kInconclusive});
    case State::kLoading: return any_of({State::kShadow, State::kRejected, State::kSuperseded});
    case State::kShadow:
      return any_of({State::kAwaitApproval, State::kCanary, State::kRejected, State::kInconclusive,
                     State::kSuperseded});
    case State::kAwaitApproval: return any_of({State::kCanary, State::kAborted});
    case State::kCanary: return to == State::kAb;
    case State::kAb: return to == State::kPromoting;
    case State::kPromoting: return to == State::kBaking;
    case State::kBaking: return to == State::kPromoted;
    default: return false;
  }
}

Transition advance(const Trial& trial, const Evidence& evidence, std::int64_t now_ms) {
  const Context at{trial, evidence, now_ms};
  if (!is_end(trial.state)) {
    static constexpr std::array<Decision (*)(const Context&), 6> kRules = {
        finish_rollback, harm_rule,         supersede_rule,
        dwell_rule,      rules::pause_rule, rules::state_rule};
    for (const auto rule : kRules) {
      if (Decision decision = rule(at)) {
        decision->effects = wanted_effects(decision->next, evidence);
        return *std::move(decision);
      }
    }
  }
  Transition same;
  same.from = same.to = trial.state;
  same.actor = "trimtab";
  same.next = trial;
  same.effects = wanted_effects(trial, evidence);
  return same;
}

std::string live_experiment(const Trial& trial) {
  return trial.state == State::kCanary || trial.state == State::kAb ? trial.id : "";
}
std::string bake_experiment(const Trial& trial) { return trial.id + "/bake"; }

std::string explain_difference(const Trial& before, const Evidence& evidence, std::int64_t now_ms,
                               const Transition& journaled) {
  const Transition again = advance(before, evidence, now_ms);
  const std::string was = dump_json(to_json(journaled)), is = dump_json(to_json(again));
  if (was == is) return {};
  return fmt::format("journaled {} -> {} ({}), derived again {} -> {} ({})",
                     state_name(journaled.from), state_name(journaled.to),
                     reason_name(journaled.reason), state_name(again.from), state_name(again.to),
                     reason_name(again.reason));
}

}  // namespace trimtab::shadow
