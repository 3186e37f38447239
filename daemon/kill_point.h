// kill_point("name"): where a crash test ends the process, at every arrow of the main path.
//
// Does nothing unless the environment variable TRIMTAB_KILL_AT is "name" or "name:n" (the n-th time
// the point is passed, from 1). Then the process dies by SIGKILL, as if power had failed. The names
// are listed by kill_point_names(), so that a test can visit all of them. Thread-safe.
#pragma once

#include <span>
#include <string_view>

namespace trimtab::daemon {

void kill_point(std::string_view name);
[[nodiscard]] std::span<const std::string_view> kill_point_names();

}  // namespace trimtab::daemon
