// Rule 6: what each state waits for, when nothing outranks it.
#include <fmt/format.h>
#include <algorithm>

#include "shadow/trial_rules.h"

namespace trimtab::shadow::rules {
namespace {

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
  Transition transition =
      enter(at, State::kRejected, Reason::kScreenFailed, verdict.failure, verdict.message);
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
  if (!applied(at, key_of(at.trial, "load_adapter")) || !applied(at, key_of(at.trial, "warm_up"))) {
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

Decision canary_rule(const Context& at) {
  const Plan& plan = at.trial.plan;
  const bool dwelt = at.dwell_waived() || at.in_state_ms() >= plan.canary_min_dwell_ms;
  const std::uint64_t units = smaller_arm(at.evidence.live);
  const bool enough =
      at.forced() ||
      (at.evidence.live &&
       units >= at.trial.units_at_entry + static_cast<std::uint64_t>(plan.canary_min_units));
  if (!dwelt || !enough || !routing_settled(at)) return std::nullopt;
  const int next_step = at.trial.step + 1;
  const Reason reason = at.forced() ? Reason::kOperatorForce : Reason::kStepPassed;
  const std::string message = fmt::format("{:g} % without harm: {} units an arm",
                                          100.0 * ladder_share(plan, at.trial.step), units);
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

}  // namespace

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

}  // namespace trimtab::shadow::rules
