// Erasure: everything of one person (user and/or session) leaves the disk: stored records, their
// feedback, the lines of jobs' data and of scored pairs, texts in the frozen pools of open trials.
// What an adapter has learned stays learned: the answer lists the adapters that were trained on
// that person. Control thread, outside a step: it runs transactions of its own. The rows that say
// which records are the person's go last: an erasure that was cut off is asked for again and
// finds everything that is left.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "config/settings.h"
#include "daemon/commands.h"
#include "daemon/record_store.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

// Whoever holds texts of records, or what is counted of their units, in memory and in blobs of its
// own lets go of them and commits that.
using ForgetRecords = std::function<Status(const std::set<std::string>& ids,
                                           const std::set<std::uint64_t>& units)>;

[[nodiscard]] CommandAnswer erase_person(const CommandRequest& command,
                                         const config::Settings& settings, StateStore& store,
                                         RecordStore& records, std::int64_t now_ms,
                                         const ForgetRecords& forget);

}  // namespace trimtab::daemon
