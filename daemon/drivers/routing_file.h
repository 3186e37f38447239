// The routing document on disk, which gateways may watch: replaced by atomic rename.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/drivers/serving_driver.h"

namespace trimtab::daemon {

// kAlready when the file holds exactly this document; kConflict when it holds a newer generation.
[[nodiscard]] EndpointResult publish_file(const std::string& folder, const std::string& target,
                                          std::uint64_t generation,
                                          const std::string& routing_json);

// Trimmed content of a secret's file; empty for an empty path.
[[nodiscard]] Result<std::string> read_token(const std::string& path);

}  // namespace trimtab::daemon
