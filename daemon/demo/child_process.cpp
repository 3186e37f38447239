#include "daemon/demo/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/files.h"

namespace trimtab::demo {
namespace {

std::string last_line(const std::filesystem::path& path) {
  auto text = read_file(path);
  if (!text) return "(no log)";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  const auto start = text->rfind('\n');
  return start == std::string::npos ? *text : text->substr(start + 1);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::string& name,
                                         const std::vector<std::string>& argv,
                                         const std::filesystem::path& log) {
  if (::access(argv[0].c_str(), X_OK) != 0) {
    return fail(Code::kNotFound, argv[0] + ": no such program; run ./dev build");
  }
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0) return fail(Code::kIo, log.string() + ": " + std::strerror(errno));
  std::vector<char*> arguments;
  for (const auto& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);
    ::setpgid(0, 0);  // Ctrl-C reaches the demo alone, which then ends its children in order
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(out);
  if (pid < 0) return fail(Code::kIo, name + ": cannot fork: " + std::strerror(errno));
  return ChildProcess(name, pid, log);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      reaped_(other.reaped_),
      log_(std::move(other.log_)) {}

ChildProcess::~ChildProcess() {
  SystemClock clock;
  stop(clock);
}

bool ChildProcess::alive() {
  if (pid_ < 0 || reaped_) return false;
  if (::waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

void ChildProcess::stop(Clock& clock, std::int64_t grace_ms) {
  if (!alive()) return;
  ::kill(pid_, SIGTERM);
  const std::int64_t deadline = clock.mono_ms() + grace_ms;
  while (alive() && clock.mono_ms() < deadline) clock.sleep_ms(20);
  if (!alive()) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, &status_, 0);
  reaped_ = true;
}

std::string ChildProcess::obituary() const {
  const std::string how = WIFSIGNALED(status_)
                              ? "was ended by signal " + std::to_string(WTERMSIG(status_))
                              : "exited with code " + std::to_string(WEXITSTATUS(status_));
  return name_ + " " + how + "; " + log_.string() + " ends with: " + last_line(log_);
}

Result<int> wait_for_port(ChildProcess& process, const std::filesystem::path& file, Clock& clock,
                          std::int64_t timeout_ms) {
  const std::int64_t deadline = clock.mono_ms() + timeout_ms;
  for (;;) {
    if (auto text = read_file(file)) {
      int port = 0;
      std::from_chars(text->data(), text->data() + text->size(), port);
      if (port > 0) return port;
    }
    if (!process.alive()) return fail(Code::kUnavailable, process.obituary());
    if (clock.mono_ms() > deadline) {
      return fail(Code::kTimeout, process.name() + " did not start within " +
                                      std::to_string(timeout_ms / 1000) + " s");
    }
    clock.sleep_ms(20);
  }
}

}  // namespace trimtab::demo
