// Rule 5: automatic pauses, which come and go with their cause (an SRM pause only comes).
#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "shadow/trial_rules.h"

namespace trimtab::shadow::rules {
namespace {

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
                                     live->exposed.mismatch ? "exposed" : "labelled", row.candidate,
                                     row.control, row.lower, row.upper)};
  }
  const std::int64_t last_ms = std::max(trial.entered_ms, live ? live->last_unit_ms : 0);
  if (at.now_ms - last_ms >= trial.plan.no_data_pause_ms) {
    return {Pause::kNoData, fmt::format("no eligible unit for {} s: is traffic flowing, and does "
                                        "the router stamp adapter, arm and generation?",
                                        (at.now_ms - last_ms) / 1000)};
  }
  return {};
}

}  // namespace

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

}  // namespace trimtab::shadow::rules
