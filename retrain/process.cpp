#include "retrain/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace trimtab::retrain {
namespace {

// The child's side, after fork: async-signal-safe calls only. Writes errno to `report` on failure.
[[noreturn]] void become(const ProcessOptions& options, char* const* argv, int output, int report) {
  const auto give_up = [&] {
    const int why = errno;
    [[maybe_unused]] const auto written = write(report, &why, sizeof why);
    _exit(127);
  };
  if (setpgid(0, 0) != 0) give_up();
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (options.memory_bytes > 0) {
    const auto bytes = static_cast<rlim_t>(options.memory_bytes);
    const rlimit memory{bytes, bytes};
    if (setrlimit(RLIMIT_AS, &memory) != 0) give_up();
  }
  if (options.nice > 0) setpriority(PRIO_PROCESS, 0, static_cast<int>(options.nice));
  // Serving and the daemon outrank a job when memory runs out.
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (oom >= 0) {
    [[maybe_unused]] const auto written = write(oom, "500", 3);
    close(oom);
  }
  const int input = open("/dev/null", O_RDONLY);
  if (input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) give_up();
  if (chdir(options.folder.c_str()) != 0) give_up();
  // Everything else closes at exec; `report` stays open until then.
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  execv(argv[0], argv);
  give_up();
  _exit(127);
}

std::int64_t counter_in(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string key;
  std::int64_t value = 0;
  while (file >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

std::string own_cgroup() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "/";
}

}  // namespace

Result<std::int64_t> start_process(const ProcessOptions& options) {
  const int output = open(options.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (output < 0) {
    return fail(Code::kIo, options.output.string() + ": cannot open: " + std::strerror(errno));
  }
  int report[2] = {-1, -1};
  if (pipe2(report, O_CLOEXEC) != 0) {
    close(output);
    return fail(Code::kIo, std::string("pipe: ") + std::strerror(errno));
  }
  std::vector<char*> argv;
  for (const std::string& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) become(options, argv.data(), output, report[1]);
  const int fork_error = errno;
  close(output);
  close(report[1]);
  if (pid < 0) {
    close(report[0]);
    return fail(Code::kIo, std::string("fork: ") + std::strerror(fork_error));
  }
  setpgid(pid, pid);  // whoever comes first; the child does the same
  int why = 0;
  ssize_t got = 0;
  do {
    got = read(report[0], &why, sizeof why);
  } while (got < 0 && errno == EINTR);
  close(report[0]);
  if (got != static_cast<ssize_t>(sizeof why)) return static_cast<std::int64_t>(pid);
  waitpid(pid, nullptr, 0);  // it is exiting
  return fail(why == ENOENT ? Code::kNotFound : Code::kIo,
              options.argv[0] + ": cannot be executed: " + std::strerror(why));
}

std::optional<ProcessEnd> reap_process(std::int64_t pid) {
  const auto id = static_cast<pid_t>(pid);
  siginfo_t info{};
  // Look without reaping: while the leader is a zombie its group id cannot be reused.
  const int looked = waitid(P_PID, static_cast<id_t>(id), &info, WEXITED | WNOHANG | WNOWAIT);
  if (looked != 0 && errno == ECHILD) return ProcessEnd{};  // somebody reaped it: end unknown
  if (looked != 0 || info.si_pid != id) return std::nullopt;
  kill(-id, SIGKILL);
  int status = 0;
  if (waitpid(id, &status, 0) != id) return ProcessEnd{};
  if (WIFSIGNALED(status)) return ProcessEnd{-1, WTERMSIG(status)};
  return ProcessEnd{WEXITSTATUS(status), 0};
}

bool signal_group(std::int64_t pid, int signal) {
  return pid > 1 && kill(static_cast<pid_t>(-pid), signal) == 0;
}

std::int64_t process_start_ticks(std::int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text, '\0');
  const auto name_end = text.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  constexpr int kStartTime = 22 - 2;  // proc(5): field 22; two stand before
  for (int i = 0; i < kStartTime; ++i) fields >> field;
  return fields ? std::strtoll(field.c_str(), nullptr, 10) : 0;
}

std::int64_t oom_kills() {
  const std::string events = "/sys/fs/cgroup" + own_cgroup() + "/memory.events";
  return counter_in("/proc/vmstat", "oom_kill") + counter_in(events.c_str(), "oom_kill");
}

std::int64_t lock_holder(const std::filesystem::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return 0;
  char wanted[64];
  std::snprintf(wanted, sizeof wanted, "%02x:%02x:%llu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  std::ifstream file("/proc/locks");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string number, type, mode, access, inode;
    std::int64_t pid = 0;
    fields >> number >> type >> mode >> access >> pid >> inode;
    if (type == "FLOCK" && inode == wanted) return pid;
  }
  return 0;
}

}  // namespace trimtab::retrain
