#include "daemon/worker_call.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/files.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPollMs = 20;
constexpr std::size_t kTailBytes = 300;

std::string last_line(const std::filesystem::path& log) {
  auto text = read_file(log, 64 << 20);
  if (!text) return "no log";
  while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
  const auto line = text->rfind('\n');
  std::string last = line == std::string::npos ? *text : text->substr(line + 1);
  if (last.size() > kTailBytes) last = last.substr(last.size() - kTailBytes);
  return last.empty() ? "no output" : last;
}

// In the child, between fork and exec: async-signal-safe calls only.
[[noreturn]] void become_worker(char* const* argv, int log_fd, int niceness) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (niceness != 0) ::setpriority(PRIO_PROCESS, 0, niceness);
  const int null_fd = ::open("/dev/null", O_RDONLY);
  ::dup2(null_fd, 0);
  ::dup2(log_fd, 1);
  ::dup2(log_fd, 2);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(argv[0], argv);
  ::_exit(127);
}

}  // namespace

Status call_worker(const WorkerCall& call, Clock& clock, std::stop_token stop) {
  const int log_fd = ::open(call.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (log_fd < 0) return fail(Code::kIo, call.log.string() + ": " + std::strerror(errno));
  std::vector<char*> argv;
  for (const auto& argument : call.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) become_worker(argv.data(), log_fd, call.nice);
  ::close(log_fd);
  if (pid < 0) return fail(Code::kIo, std::string("fork: ") + std::strerror(errno));
  const std::int64_t deadline_ms = clock.mono_ms() + call.deadline_ms;
  std::int64_t kill_at_ms = -1;
  bool stopped = false;
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid) break;
    if (ended < 0 && errno != EINTR) return fail(Code::kInternal, "waitpid failed");
    const std::int64_t now_ms = clock.mono_ms();
    const bool over = now_ms >= deadline_ms || stop.stop_requested();
    if (over && kill_at_ms < 0) {
      stopped = stop.stop_requested();
      ::kill(-pid, SIGTERM);
      kill_at_ms = now_ms + (stopped ? 500 : call.grace_ms);
    } else if (kill_at_ms >= 0 && now_ms >= kill_at_ms) {
      ::kill(-pid, SIGKILL);
    }
    clock.sleep_ms(kPollMs);
  }
  if (stopped) return fail(Code::kUnavailable, "stopped with the daemon");
  if (kill_at_ms >= 0) return fail(Code::kTimeout, "the worker ran past its deadline");
  if (WIFSIGNALED(status)) {
    return fail(Code::kUnavailable, "the worker died of signal " +
                                        std::to_string(WTERMSIG(status)) + ": " +
                                        last_line(call.log));
  }
  const int code = WEXITSTATUS(status);
  if (code == 0) return {};
  // Bad input is worth another try here: the fleet's files may be in motion, the dwell bounds it.
  return fail(Code::kUnavailable,
              "the worker ended with " + std::to_string(code) + ": " + last_line(call.log));
}

}  // namespace trimtab::daemon
