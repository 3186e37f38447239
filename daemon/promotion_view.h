// A trial as REST calls it: a promotion (docs/openapi.yaml, schema Promotion). Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "shadow/trial.h"

namespace trimtab::daemon {

[[nodiscard]] nlohmann::json promotion_json(const shadow::Trial& trial,
                                            const shadow::Evidence& evidence, std::int64_t now_ms);

}  // namespace trimtab::daemon
