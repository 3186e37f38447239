// One child process in a process group of its own, for the launcher. POSIX and Linux only.
// fork() happens in a threaded program: between fork and exec only async-signal-safe calls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::retrain {

struct ProcessOptions {
  std::vector<std::string> argv;  // argv[0] is the path of the program
  std::filesystem::path folder;   // working folder
  std::filesystem::path output;   // stdout and stderr, appended
  std::int64_t memory_bytes = 0;  // RLIMIT_AS; 0 = no bound
  std::int64_t nice = 0;          // 0: setpriority is not called (it is SIGSYS in some sandboxes)
};

// The child's pid (= its group). No core file, default signal actions, all other descriptors
// closed, preferred by the OOM killer. kNotFound / kIo when it could not be executed.
[[nodiscard]] Result<std::int64_t> start_process(const ProcessOptions& options);

struct ProcessEnd {
  std::int64_t exit_code = -1;  // -1: by signal
  std::int64_t signal = 0;
};
// Has our child ended? Then kills what is left of its group and reaps it. Never blocks, never waits
// for another child.
[[nodiscard]] std::optional<ProcessEnd> reap_process(std::int64_t pid);

// To the whole group. False when there is no such group (any more).
bool signal_group(std::int64_t pid, int signal);

// Clock ticks since boot at which a process started: with the pid, an identity that is not reused.
// 0 when there is no such process.
[[nodiscard]] std::int64_t process_start_ticks(std::int64_t pid);

// How often the kernel's OOM killer struck in this machine or cgroup, as far as we may read it.
[[nodiscard]] std::int64_t oom_kills();

// The process that holds the flock on a file, by /proc/locks; 0 when unknown.
[[nodiscard]] std::int64_t lock_holder(const std::filesystem::path& path);

}  // namespace trimtab::retrain
