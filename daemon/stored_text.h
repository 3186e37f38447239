// A stored record as trainers and scorers need it: the prompt as messages, the answer, who asked.
// Reads one line of the record store (record_store.h) and takes it apart. Pure apart from the read.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "config/settings.h"
#include "daemon/record_store.h"

namespace trimtab::daemon {

struct StoredText {
  nlohmann::json messages = nlohmann::json::array();  // [{role, content}], without the answer
  std::string output;
  std::string id, user_id, session_id, tenant, route;
};

// kNotFound when retention or erasure took it, kCorrupt when it is not a record.
[[nodiscard]] Result<StoredText> read_stored_text(const RecordStore& records,
                                                  const TextPosition& position);
// The assignment unit: user, else session, else the request (config::UnitKey says where to start).
[[nodiscard]] std::string unit_of_ids(config::UnitKey key, std::string_view user,
                                      std::string_view session, std::string_view id);

}  // namespace trimtab::daemon
