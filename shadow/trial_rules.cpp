#include "shadow/trial_rules.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace trimtab::shadow::rules {

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
                   std::string message, std::string actor) {
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
                 std::string message, int step) {
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
                     std::string message, std::string actor) {
  Transition transition =
      enter(at, State::kRollingBack, reason, std::move(detail), std::move(message));
  transition.next.ending = ending;
  transition.next.end_reason = reason;
  transition.next.end_detail = transition.detail;
  transition.next.harm = reason == Reason::kLiveHarm || reason == Reason::kBakeHarm;
  transition.actor = transition.next.actor = std::move(actor);
  return transition;
}

bool routing_settled(const Context& at) {
  const EffectResult* written = result_of(at, routing_key(at.trial));
  return written != nullptr && written->status == EffectStatus::kApplied &&
         at.evidence.acked_generation >= written->generation;
}

}  // namespace trimtab::shadow::rules
