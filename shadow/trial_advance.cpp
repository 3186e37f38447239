// The rules of the trial, in the order in which they outrank one another (trial.h says which).
// Each rule is a small function that may decide; the first that does wins.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/json.h"
#include "shadow/trial.h"

namespace trimtab::shadow {
namespace {

struct Context {
  const Trial& trial;
  const Evidence& evidence;
  std::int64_t now_ms;
  [[nodiscard]] std::int64_t in_state_ms() const { return now_ms - trial.entered_ms; }
  [[nodiscard]] bool forced() const { return trial.forced || trial.force_once; }
  [[nodiscard]] bool dwell_waived() const {
    return trial.skip_dwell || trial.promote_requested || forced();
  }
};

using Decision = std::optional<Transition>;

std::string key_of(const Trial& trial, const char* what) { return trial.id + "/" + what; }

// One document a ladder step; PROMOTING and BAKING share theirs.
std::string routing_key(const Trial& trial) {
  const State state = trial.state == State::kBaking ? State::kPromoting : trial.state;
  std::string key = trial.id + "/write_routing/" + std::string(state_name(state));
  if (state == State::kCanary) key += "/" + std::to_string(trial.step);
  return key;
}

const EffectResult* result_of(const Context& at, const std::string& key) {
  const auto it = at.evidence.effects.find(key);
  return it == at.evidence.effects.end() ? nullptr : &it->second;
}
bool applied(const Context& at, const std::string& key) {
  const EffectResult* result = result_of(at, key);
  return result != nullptr && result->status == EffectStatus::kApplied;
}

Transition changed(const Trial& trial, Trial next, Reason reason, std::string detail,
                   std::string message, std::string actor = "trimtab") {
  next.seq = trial.seq + 1;
  next.reason = reason;
  next.detail = detail;
  next.message = message;
  next.actor = actor;
  Transition transition;
  transition.changed = true;
  transition.from = trial.state;
  transition.to = next.state;
  transition.reason = reason;
  transition.detail = std::move(detail);
  transition.message = std::move(message);
  transition.actor = std::move(actor);
  transition.next = std::move(next);
  CHECK(is_legal(transition.from, transition.to), "an illegal transition is a bug");
  return transition;
}

std::uint64_t smaller_arm(const std::optional<LiveVerdict>& live) {
  return live ? std::min(live->closed_candidate, live->closed_control) : 0;
}

Transition enter(const Context& at, State state, Reason reason, std::string detail,
                 std::string message, int step = 0) {
  Trial next = at.trial;
  next.state = state;
  next.step = step;
  next.entered_ms = at.now_ms;
  next.skip_dwell = false;
  next.force_once = false;
  next.overridden = Pause::kNone;
  next.pause = Pause::kNone;
  next.pause_message.clear();
  if (state == State::kCanary) next.routed = true;
  if (state == State::kCanary || state == State::kAb) {
    next.units_at_entry = smaller_arm(at.evidence.live);
  }
  if (is_end(state) && next.end_reason == Reason::kNone) {
    next.end_reason = reason;
    next.end_detail = detail;
  }
  return changed(at.trial, std::move(next), reason, std::move(detail), std::move(message));
}

Transition roll_back(const Context& at, State ending, Reason reason, std::string detail,
                     std::string message, std::string actor = "trimtab") {
  Transition transition =
      enter(at, State::kRollingBack, reason, std::move(detail), std::move(message));
  transition.next.ending = ending;
  transition.next.end_reason = reason;
  transition.next.end_detail = transition.detail;
  transition.next.harm = reason == Reason::kLiveHarm || reason == Reason::kBakeHarm;
  transition.actor = transition.next.actor = std::move(actor);
  return transition;
}

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
    return fmt::format("{}: mean difference {:+.4f} over {} pairs, evidence of harm e^{:.2f} "
                       "(threshold e^{:.2f})",
                       metric, row.mean_d, row.pairs, row.log_e_harm, row.log_threshold_harm);
  }
  return metric;
}

Decision harm_rule(const Context& at) {
  const State state = at.trial.state;
  if (is_live(state) && !at.evidence.slo_breach.empty()) {
    return roll_back(at, State::kRolledBack, Reason::kSloBreach, at.evidence.slo_breach,
                     "the candidate's arm broke a hard limit: " + at.evidence.slo_breach);
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
    case State::kLoading:
      return enter(at, State::kRejected, Reason::kLoadFailed, "dwell", waited);
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
    default:
      return enter(at, State::kInconclusive, Reason::kDwellExceeded, name, waited);
  }
}

// --- rule 5: pauses
struct PauseFinding {
  Pause pause = Pause::kNone;
  std::string message;
};

bool unacknowledged(const Context& at) {
  const EffectResult* written = result_of(at, routing_key(at.trial));
  if (written == nullptr || written->status != EffectStatus::kApplied) return false;
  const bool nobody = at.evidence.acked_generation == 0;
  const std::int64_t owed_ms = nobody ? at.in_state_ms() : at.evidence.oldest_unacked_ms;
  return (nobody || at.evidence.acked_generation < written->generation) &&
         owed_ms >= at.trial.plan.ack_timeout_ms;
}

PauseFinding find_cause(const Context& at) {
  const Trial& trial = at.trial;
  if (trial.state == State::kShadow) {
    if (at.evidence.shadow && at.evidence.shadow->scorer_down) {
      return {Pause::kScorerDown, "scoring calls fail: " + at.evidence.shadow->message};
    }
    return {};
  }
  if (!is_live(trial.state)) return {};
  if (unacknowledged(at)) {
    return {Pause::kAckTimeout,
            at.evidence.acked_generation == 0
                ? "no live router acknowledges routing documents: is a gateway running?"
                : "router " + at.evidence.slow_router + " has not acknowledged for " +
                      std::to_string(at.evidence.oldest_unacked_ms / 1000) + " s"};
  }
  const auto& live = trial.state == State::kBaking ? at.evidence.bake : at.evidence.live;
  if (trial.state == State::kPromoting) return {};
  if (live && live->mismatch_hold) {
    return {Pause::kServedMismatch,
            fmt::format("{} records were answered by another adapter than routed: ask the fleet "
                        "what it has loaded",
                        live->mismatched)};
  }
  if (live && (live->exposed.mismatch || live->labelled.mismatch)) {
    const SrmRow& row = live->exposed.mismatch ? live->exposed : live->labelled;
    return {Pause::kSrm, fmt::format("sample-ratio mismatch on {} units: {} against {}, the "
                                     "candidate's share lies in [{:.3f}, {:.3f}] and not at .5",
                                     live->exposed.mismatch ? "exposed" : "labelled",
                                     row.candidate, row.control, row.lower, row.upper)};
  }
  const std::int64_t last_ms = std::max(trial.entered_ms, live ? live->last_unit_ms : 0);
  if (at.now_ms - last_ms >= trial.plan.no_data_pause_ms) {
    return {Pause::kNoData, fmt::format("no eligible unit for {} s: is traffic flowing, and does "
                                        "the router stamp adapter, arm and generation?",
                                        (at.now_ms - last_ms) / 1000)};
  }
  return {};
}

Decision pause_rule(const Context& at) {
  const Trial& trial = at.trial;
  if (trial.pause == Pause::kOperator) return std::nullopt;
  PauseFinding found = find_cause(at);
  if (found.pause == trial.overridden) found = {};
  // Mismatched shares do not become right by waiting: an operator looks first.
  if (found.pause == trial.pause || (trial.pause == Pause::kSrm && found.pause == Pause::kNone)) {
    return std::nullopt;
  }
  Trial next = trial;
  next.pause = found.pause;
  next.pause_message = found.message;
  if (found.pause == Pause::kNone) {
    return changed(trial, std::move(next), Reason::kResumed, std::string(pause_name(trial.pause)),
                   "the cause is gone");
  }
  return changed(trial, std::move(next), Reason::kPaused, std::string(pause_name(found.pause)),
                 found.message);
}

// --- rule 6: the states' own rules
Decision registered_rule(const Context& at) {
  if (!at.evidence.preflight) return std::nullopt;
  const PreflightVerdict& verdict = *at.evidence.preflight;
  if (verdict.passed) {
    return enter(at, State::kOfflineEval, Reason::kPreflightPassed, "", verdict.message);
  }
  return enter(at, State::kRejected, Reason::kPreflightFailed, verdict.failure, verdict.message);
}

Decision offline_rule(const Context& at) {
  if (at.forced()) {
    return enter(at, State::kLoading, Reason::kOperatorForce, "", "offline screen skipped");
  }
  if (!at.evidence.offline) return std::nullopt;
  const OfflineVerdict& verdict = *at.evidence.offline;
  if (verdict.passed) {
    return enter(at, State::kLoading, Reason::kScreenPassed, "", verdict.message);
  }
  Transition transition = enter(at, State::kRejected, Reason::kScreenFailed, verdict.failure,
                                verdict.message);
  transition.next.harm = verdict.harm;
  return transition;
}

Decision loading_rule(const Context& at) {
  for (const char* step : {"load_adapter", "warm_up"}) {
    const EffectResult* result = result_of(at, key_of(at.trial, step));
    if (result != nullptr && result->status == EffectStatus::kFailed) {
      return enter(at, State::kRejected, Reason::kLoadFailed, step, result->message);
    }
  }
  if (!applied(at, key_of(at.trial, "load_adapter")) ||
      !applied(at, key_of(at.trial, "warm_up"))) {
    return std::nullopt;
  }
  return enter(at, State::kShadow, Reason::kLoaded, "",
               "every endpoint lists the adapter and has answered under its name");
}

Transition leave_shadow(const Context& at, Reason reason, const std::string& message) {
  const Trial& trial = at.trial;
  const bool budget_spent =
      at.evidence.alpha_spent + trial_alpha(trial.plan) > at.evidence.error_budget + 1e-12;
  const bool approved = trial.approved || trial.promote_requested;
  if (!approved && (trial.plan.approval || budget_spent)) {
    return enter(at, State::kAwaitApproval,
                 budget_spent ? Reason::kBudgetSpent : Reason::kApprovalNeeded, "", message);
  }
  return enter(at, State::kCanary, reason, "", message);
}

Decision shadow_rule(const Context& at) {
  if (at.forced()) return leave_shadow(at, Reason::kOperatorForce, "shadow test skipped");
  if (!at.evidence.shadow) return std::nullopt;
  const ShadowVerdict& verdict = *at.evidence.shadow;
  if (verdict.ship) return leave_shadow(at, Reason::kShadowShip, verdict.message);
  if (verdict.exhausted) {
    return enter(at, State::kInconclusive, Reason::kShadowExhausted, "", verdict.message);
  }
  return std::nullopt;
}

Decision approval_rule(const Context& at) {
  if (!at.trial.approved && !at.trial.promote_requested) return std::nullopt;
  return enter(at, State::kCanary, Reason::kApproved, at.trial.approved_by,
               "approved by " + at.trial.approved_by);
}

bool routing_settled(const Context& at) {
  const EffectResult* written = result_of(at, routing_key(at.trial));
  return written != nullptr && written->status == EffectStatus::kApplied &&
         at.evidence.acked_generation >= written->generation;
}

Decision canary_rule(const Context& at) {
  const Plan& plan = at.trial.plan;
  const bool dwelt = at.dwell_waived() || at.in_state_ms() >= plan.canary_min_dwell_ms;
  const std::uint64_t units = smaller_arm(at.evidence.live);
  const bool enough = at.forced() || (at.evidence.live && units >= at.trial.units_at_entry +
                                                              static_cast<std::uint64_t>(
                                                                  plan.canary_min_units));
  if (!dwelt || !enough || !routing_settled(at)) return std::nullopt;
  const int next_step = at.trial.step + 1;
  const Reason reason = at.forced() ? Reason::kOperatorForce : Reason::kStepPassed;
  const std::string message = fmt::format(
      "{:g} % without harm: {} units an arm", 100.0 * ladder_share(plan, at.trial.step), units);
  if (next_step < canary_steps(plan)) {
    return enter(at, State::kCanary, reason, std::to_string(next_step), message, next_step);
  }
  return enter(at, State::kAb, reason, "", message);
}

Decision ab_rule(const Context& at) {
  const Plan& plan = at.trial.plan;
  if (!routing_settled(at)) return std::nullopt;
  if (at.forced()) {
    return enter(at, State::kPromoting, Reason::kOperatorForce, "", "live statistics skipped");
  }
  if (!at.evidence.live) return std::nullopt;
  const LiveVerdict& live = *at.evidence.live;
  const bool dwelt = at.dwell_waived() || at.in_state_ms() >= plan.ab_min_dwell_ms;
  const bool clean = !live.exposed.mismatch && !live.labelled.mismatch && !live.mismatch_hold;
  if (dwelt && clean && live.ship) {
    return enter(at, State::kPromoting, Reason::kLiveShip, live.primary, live.message);
  }
  if (smaller_arm(at.evidence.live) >= static_cast<std::uint64_t>(plan.ab_max_units)) {
    return roll_back(at, State::kInconclusive, Reason::kHorizonReached, "units", live.message);
  }
  return std::nullopt;
}

Decision promoting_rule(const Context& at) {
  if (!routing_settled(at)) return std::nullopt;
  return enter(at, State::kBaking, Reason::kAllAcknowledged, "",
               "every live router serves " + at.trial.candidate.name);
}

Decision baking_rule(const Context& at) {
  const Plan& plan = at.trial.plan;
  if (at.forced()) {
    return enter(at, State::kPromoted, Reason::kOperatorForce, "", "baking skipped");
  }
  if (!at.evidence.bake) return std::nullopt;
  const LiveVerdict& bake = *at.evidence.bake;
  const bool dwelt = at.dwell_waived() || at.in_state_ms() >= plan.bake_ms;
  const bool clean = !bake.exposed.mismatch && !bake.labelled.mismatch && !bake.mismatch_hold;
  const std::uint64_t units = smaller_arm(at.evidence.bake);
  if (!dwelt || !clean || units < static_cast<std::uint64_t>(plan.bake_min_units)) {
    return std::nullopt;
  }
  return enter(at, State::kPromoted, Reason::kBakeClean, "",
               fmt::format("no harm against the hold-back over {} units an arm", units));
}

Decision state_rule(const Context& at) {
  if (at.trial.pause != Pause::kNone) return std::nullopt;
  switch (at.trial.state) {
    case State::kRegistered: return registered_rule(at);
    case State::kOfflineEval: return offline_rule(at);
    case State::kLoading: return loading_rule(at);
    case State::kShadow: return shadow_rule(at);
    case State::kAwaitApproval: return approval_rule(at);
    case State::kCanary: return canary_rule(at);
    case State::kAb: return ab_rule(at);
    case State::kPromoting: return promoting_rule(at);
    case State::kBaking: return baking_rule(at);
    default: return std::nullopt;
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
      return any_of({State::kOfflineEval, State::kRejected, State::kSuperseded,
                     State::kInconclusive});
    case State::kOfflineEval:
      return any_of({State::kLoading, State::kRejected, State::kSuperseded,
                     State::kInconclusive});
    case State::kLoading:
      return any_of({State::kShadow, State::kRejected, State::kSuperseded});
    case State::kShadow:
      return any_of({State::kAwaitApproval, State::kCanary, State::kRejected,
                     State::kInconclusive, State::kSuperseded});
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
        finish_rollback, harm_rule, supersede_rule, dwell_rule, pause_rule, state_rule};
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

namespace {

tl::unexpected<Error> refuse(const Trial& trial, const Command& command, const std::string& hint) {
  return fail(Code::kConflict,
              fmt::format("{} is not possible in {}: {}", verb_name(command.verb),
                          state_name(trial.state), hint));
}

Result<Transition> apply_pause(const Context& at, const Command& command) {
  if (at.trial.pause == Pause::kOperator) {
    return refuse(at.trial, command, "it is paused already; resume ends that");
  }
  Trial next = at.trial;
  next.pause = Pause::kOperator;
  next.pause_message = command.reason.empty() ? "paused by " + command.actor : command.reason;
  return changed(at.trial, std::move(next), Reason::kPaused, "operator", command.reason,
                 command.actor);
}

Result<Transition> apply_resume(const Context& at, const Command& command) {
  if (at.trial.pause == Pause::kNone) return refuse(at.trial, command, "it is not paused");
  Trial next = at.trial;
  if (next.pause != Pause::kOperator) next.overridden = next.pause;
  next.pause = Pause::kNone;
  next.pause_message.clear();
  return changed(at.trial, std::move(next), Reason::kResumed,
                 std::string(pause_name(at.trial.pause)), command.reason, command.actor);
}

Result<Transition> apply_approve(const Context& at, const Command& command) {
  if (at.trial.state != State::kAwaitApproval) {
    return refuse(at.trial, command, "only AWAIT_APPROVAL waits for an approval");
  }
  Trial next = at.trial;
  next.approved = true;
  next.approved_by = command.actor;
  return changed(at.trial, std::move(next), Reason::kRequested, "approve", command.reason,
                 command.actor);
}

Result<Transition> apply_advance(const Context& at, const Command& command) {
  const State state = at.trial.state;
  const bool dwells = state == State::kCanary || state == State::kAb || state == State::kBaking;
  const bool statistics = dwells || state == State::kOfflineEval || state == State::kShadow;
  if (!(command.force ? statistics : dwells)) {
    return refuse(at.trial, command,
                  statistics ? "no dwell to end; force skips its statistics"
                             : "files, fleet and routers are never skipped");
  }
  Trial next = at.trial;
  next.skip_dwell = true;
  next.force_once = command.force;
  return changed(at.trial, std::move(next), Reason::kRequested,
                 command.force ? "advance, force" : "advance", command.reason, command.actor);
}

Result<Transition> apply_promote(const Context& at, const Command& command) {
  Trial next = at.trial;
  next.promote_requested = true;
  next.approved = true;
  next.approved_by = command.actor;
  next.forced = next.forced || command.force;
  return changed(at.trial, std::move(next), Reason::kRequested,
                 command.force ? "promote, force" : "promote", command.reason, command.actor);
}

}  // namespace

Result<Transition> apply(const Trial& trial, const Command& command, const Evidence& evidence,
                         std::int64_t now_ms) {
  const Context at{trial, evidence, now_ms};
  if (command.actor.empty()) return fail(Code::kInvalid, "a command needs an actor");
  if (is_end(trial.state)) {
    return refuse(trial, command,
                  trial.state == State::kPromoted
                      ? "it has ended; to go back, roll back the target (undo)"
                      : "it has ended; register the adapter again for a new trial");
  }
  if (trial.state == State::kRollingBack) {
    return refuse(trial, command, "it is being rolled back already");
  }
  Result<Transition> done = [&]() -> Result<Transition> {
    switch (command.verb) {
      case Verb::kPause: return apply_pause(at, command);
      case Verb::kResume: return apply_resume(at, command);
      case Verb::kApprove: return apply_approve(at, command);
      case Verb::kAdvance: return apply_advance(at, command);
      case Verb::kPromote: return apply_promote(at, command);
      case Verb::kAbort:
        return roll_back(at, State::kAborted, Reason::kOperatorAbort, "", command.reason,
                         command.actor);
      case Verb::kRollback:
        return roll_back(at, State::kAborted, Reason::kOperatorRollback, "", command.reason,
                         command.actor);
    }
    return fail(Code::kInternal, "unknown verb");
  }();
  if (done) done->effects = wanted_effects(done->next, evidence);
  return done;
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
