// Erasure: everything of one person (user and/or session) leaves the disk: stored records, their
// feedback, the lines of finished jobs' data and of scored pairs. What an adapter has learned stays
// learned: the answer lists the adapters that were trained on that person. Control thread, outside
// a step: it runs transactions of its own.
#pragma once

#include <cstdint>

#include "config/settings.h"
#include "daemon/commands.h"
#include "daemon/record_store.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

[[nodiscard]] CommandAnswer erase_person(const CommandRequest& command,
                                         const config::Settings& settings, StateStore& store,
                                         RecordStore& records, std::int64_t now_ms);

}  // namespace trimtab::daemon
