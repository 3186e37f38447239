// ChildProcess: one of the demo's real programs (trimtabd, gateway, model server).
//
// The child ends with the demo even if the demo is killed (PR_SET_PDEATHSIG). Its output goes to a
// log file. Owned and used by one thread.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace trimtab::demo {

class ChildProcess {
 public:
  // kNotFound when the program does not exist; kIo when it cannot be started.
  [[nodiscard]] static Result<ChildProcess> start(const std::string& name,
                                                  const std::vector<std::string>& argv,
                                                  const std::filesystem::path& log);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // stop()

  [[nodiscard]] bool alive();
  // TERM, and KILL when it has not ended within `grace_ms`. Idempotent.
  void stop(Clock& clock, std::int64_t grace_ms = 10'000);
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // "trimtabd exited with code 78; see .../trimtabd.log: <last line>"
  [[nodiscard]] std::string obituary() const;

 private:
  ChildProcess(std::string name, pid_t pid, std::filesystem::path log)
      : name_(std::move(name)), pid_(pid), log_(std::move(log)) {}
  std::string name_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::filesystem::path log_;
};

// Waits until a program has written its port to `file` (--port-file). kTimeout, or kUnavailable
// with the obituary when the process ends first.
[[nodiscard]] Result<int> wait_for_port(ChildProcess& process, const std::filesystem::path& file,
                                        Clock& clock, std::int64_t timeout_ms = 30'000);

}  // namespace trimtab::demo
