// Where adapters live: <state>/adapters/NAME, whole or not at all, readable by the model servers'
// group. The folder `adapters` carries the set-group-ID bit (systemd/trimtab.tmpfiles.conf), so
// what is made inside it belongs to that group; everything else of the daemon stays private.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace trimtab::daemon {

// Copies the files of the PEFT folder `from` (not its subfolders: checkpoints) to `to`, under a
// name of its own until it is whole and durable. `to` that exists already is taken as done: the
// name says the content. kIo; kInvalid when `from` is no folder with files. Any thread.
[[nodiscard]] Status place_adapter(const std::filesystem::path& from,
                                   const std::filesystem::path& to);

}  // namespace trimtab::daemon
