// Internal to the trial's rules (trial_*.cpp): what a rule sees, and how a transition is made. A
// rule is a small function that may decide; advance() asks them in the order in which they outrank
// one another, and the first that decides wins. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shadow/trial.h"

namespace trimtab::shadow::rules {

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

// Keys of effects, as wanted_effects() makes them. PROMOTING and BAKING share one document.
[[nodiscard]] std::string key_of(const Trial& trial, const char* what);
[[nodiscard]] std::string routing_key(const Trial& trial);
[[nodiscard]] const EffectResult* result_of(const Context& at, const std::string& key);
[[nodiscard]] bool applied(const Context& at, const std::string& key);
// The present document is written and acknowledged by every live router.
[[nodiscard]] bool routing_settled(const Context& at);

// The smaller arm's closed units; 0 while nothing is known.
[[nodiscard]] std::uint64_t smaller_arm(const std::optional<LiveVerdict>& live);

// `next` with its sequence number and reason; the state may be the same.
[[nodiscard]] Transition changed(const Trial& trial, Trial next, Reason reason, std::string detail,
                                 std::string message, std::string actor = "trimtab");
// Into another state, or the next step of the ladder: clocks and flags start anew.
[[nodiscard]] Transition enter(const Context& at, State state, Reason reason, std::string detail,
                               std::string message, int step = 0);
// Into ROLLING_BACK, which will lead to `ending`.
[[nodiscard]] Transition roll_back(const Context& at, State ending, Reason reason,
                                   std::string detail, std::string message,
                                   std::string actor = "trimtab");

// Rule 5 and rule 6 of trial.h; the others are in trial_advance.cpp.
[[nodiscard]] Decision pause_rule(const Context& at);
[[nodiscard]] Decision state_rule(const Context& at);

}  // namespace trimtab::shadow::rules
