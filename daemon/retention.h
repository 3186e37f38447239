// What is kept of a target's files: the newest so many adapters and job folders; never what
// routing, a trial, an undo or an open job names. Control thread, between steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

struct Doomed {
  std::vector<std::string> adapters, jobs, trials;  // scoring files: of a trial or a reverse shadow
  [[nodiscard]] bool empty() const { return adapters.empty() && jobs.empty() && trials.empty(); }
};

// `named`: an adapter that something still needs, whatever its age.
[[nodiscard]] Result<Doomed> beyond_retention(
    StateQueries& state, const std::string& target, const config::StateSettings& settings,
    const std::function<bool(const std::string& adapter)>& named);

// Removes the folders and then, in `tx`, what the state knew of the adapters; journals each. Done
// again after a crash, it does the rest.
[[nodiscard]] Status remove_doomed(Transaction& tx, const std::filesystem::path& state_dir,
                                   const std::string& target, const Doomed& doomed,
                                   std::int64_t now_ms);

}  // namespace trimtab::daemon
