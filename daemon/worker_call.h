// One short-lived worker process, waited for: scoring. (Training jobs outlive the daemon and belong
// to retrain/launcher.h.) Called on an effects thread; blocks until the process has ended.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace trimtab::daemon {

struct WorkerCall {
  std::vector<std::string> argv;  // argv[0]: an executable path
  std::filesystem::path log;      // stdout and stderr, replaced by each call
  std::int64_t deadline_ms = 0;   // then TERM to the group, `grace_ms` later KILL
  std::int64_t grace_ms = 0;
  int nice = 0;
};

// OK for exit 0. kTimeout after the deadline, kUnavailable when stopped, killed by a signal, and
// kUnavailable for any other exit; the message ends with the log's last line.
[[nodiscard]] Status call_worker(const WorkerCall& call, Clock& clock, std::stop_token stop);

}  // namespace trimtab::daemon
