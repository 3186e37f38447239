// Operators' commands: the same transitions, asked for by hand.
#include <fmt/format.h>
#include <utility>

#include "shadow/trial_rules.h"

namespace trimtab::shadow {

using rules::changed;
using rules::Context;
using rules::roll_back;

namespace {

tl::unexpected<Error> refuse(const Trial& trial, const Command& command, const std::string& hint) {
  return fail(Code::kConflict, fmt::format("{} is not possible in {}: {}", verb_name(command.verb),
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

}  // namespace trimtab::shadow
