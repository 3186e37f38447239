// Explain and replay: decisions are functions of what the journal holds, so they can be made again.
//
// explain_subject: every decision about an alarm, a trial or a job with what it used, and whether
// making it again agrees: an alarm from its trail (state at a checkpoint and every event since), a
// transition from the journaled pairs and units by way of the evidence, a job's start from the
// policy's inputs. replay_subject: what a trial's evidence would have decided under another plan.
// Reads only; any thread with its own reader.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

// `id`: al-N, trial-N or job-N. {"id", "kind", "inputs", "agrees", "decisions": [..]}; each
// decision has "agrees" and "difference". kNotFound.
[[nodiscard]] Result<nlohmann::json> explain_subject(StateQueries& state, const std::string& id);
// `changes`: plan values by name (shadow/plan.h). kNotFound: no such trial; kInvalid: a bad value.
[[nodiscard]] Result<nlohmann::json> replay_subject(StateQueries& state, const std::string& id,
                                                    const nlohmann::json& changes);

}  // namespace trimtab::daemon
