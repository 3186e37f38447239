// The journal's rows of a trial - scored pairs, closed units - as the gates take them: what
// `trimtab replay` decides again under another plan, and `trimtab explain` under the same. Reads
// only; any thread with its own reader.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/state_store.h"
#include "shadow/replay.h"
#include "shadow/trial.h"

namespace trimtab::daemon {

struct JournaledPairs {
  std::vector<shadow::ReplayPair> rows;  // in the order in which they were counted
  bool advisory = false;                 // no labels that count
  bool no_past = false;                  // `old` was not asked for
};
[[nodiscard]] Result<JournaledPairs> journaled_pairs(StateQueries& state, const std::string& trial);
// `stream`: "units" (canary and A/B) or "bake_units".
[[nodiscard]] Result<std::vector<shadow::LiveAb::ClosedUnit>> journaled_units(
    StateQueries& state, const std::string& trial, const char* stream);

// What the journalled evidence decides under `plan`, and after which pair and unit; beside it what
// happened.
[[nodiscard]] Result<nlohmann::json> replay_trial(StateQueries& state, const shadow::Trial& trial,
                                                  const shadow::Plan& plan);

// Evidence that a transition used, summed up again from the journal's rows. Empty: it agrees.
[[nodiscard]] Result<std::string> evidence_difference(StateQueries& state,
                                                      const shadow::Trial& trial,
                                                      const shadow::Evidence& evidence);

}  // namespace trimtab::daemon
