// The retraining policy's inputs and settings as a row of the journal, so that `trimtab explain
// job-N` can ask retrain::decide the same question again. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "retrain/policy.h"

namespace trimtab::daemon {

// {"inputs": .., "settings": .., "decision": ..}
[[nodiscard]] nlohmann::json policy_row(const retrain::PolicyInputs& inputs,
                                        const config::RetrainSettings& settings,
                                        const retrain::Decision& decision);
// Empty: deciding again from the row gives the same. kInvalid when it is no such row.
[[nodiscard]] Result<std::string> policy_difference(const nlohmann::json& row);

}  // namespace trimtab::daemon
