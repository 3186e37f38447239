#include "retrain/launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "base/files.h"
#include "base/json.h"
#include "retrain/process.h"

namespace trimtab::retrain {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSpoolPatienceMs = 120'000;  // until systemd has started the unit
constexpr std::uint64_t kSmallFile = 1U << 20;

// The last non-empty line of the log, for a message: what the worker said last.
std::string last_words(const fs::path& log) {
  constexpr std::size_t kTail = 4'096, kLongest = 300;
  const int fd = open(log.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const off_t size = lseek(fd, 0, SEEK_END);
  const off_t from = size > static_cast<off_t>(kTail) ? size - static_cast<off_t>(kTail) : 0;
  std::string tail(static_cast<std::size_t>(std::max<off_t>(0, size - from)), '\0');
  const ssize_t got = pread(fd, tail.data(), tail.size(), from);
  close(fd);
  tail.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!tail.empty() && (tail.back() == '\n' || tail.back() == ' ')) tail.pop_back();
  const auto line = tail.rfind('\n');
  std::string last = line == std::string::npos ? tail : tail.substr(line + 1);
  for (char& c : last) c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return last.substr(0, kLongest);
}

bool speaks_of_memory(const std::string& words) {
  for (const char* sign : {"bad_alloc", "annot allocate memory", "out of memory", "out_of_memory",
                           "not enough memory", "failed to map segment"}) {
    if (words.find(sign) != std::string::npos) return true;
  }
  return false;
}

bool has_checkpoint(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "checkpoint", error) && !fs::is_empty(folder / "checkpoint", error);
}

JobResult failed(std::string reason, std::string message) {
  JobResult result;
  result.status = "failed";
  result.reason = std::move(reason);
  result.message = std::move(message);
  result.seconds = result.tokens_per_s = result.first_loss = result.final_loss = NAN;
  result.eval_loss_before = result.eval_loss_after = NAN;
  return result;
}

}  // namespace

// A job that is watched: our child, or one that lives without us (adopted, spool).
struct Launcher::Worker {
  std::string job;
  fs::path folder;
  config::LimitSettings limits;
  std::int64_t pid = 0;  // 0: not known (yet)
  bool child = false;
  bool seen_alive = false;  // not a child: its lock was held once
  bool announced = false;
  std::int64_t started_mono_ms = 0;
  std::int64_t sign_mono_ms = 0;  // last new heartbeat, or the start
  std::string heartbeat;
  std::int64_t oom_kills_before = 0;
  std::string ending;  // why we are ending it; empty = we are not
  std::int64_t term_mono_ms = 0;
  bool killed = false;

  [[nodiscard]] fs::path file(const char* name) const { return folder / name; }
  [[nodiscard]] bool alive_once() const { return child || seen_alive; }
  [[nodiscard]] JobEvent event(JobEvent::Kind kind) const;
  void end_because(const std::string& reason, std::int64_t now);
  void signal_it(int number) const;
  // Has it ended? `locked()`: does somebody hold its lock (not asked for a child).
  template <typename Locked>
  std::optional<ProcessEnd> look(std::int64_t now, Locked locked);
  std::optional<Heartbeat> new_heartbeat(std::int64_t now);
  void enforce_limits(std::int64_t now);
  [[nodiscard]] JobResult name_death(const ProcessEnd& end) const;
  [[nodiscard]] JobEvent exited(const ProcessEnd& end, const Result<JobResult>& result) const;
};

JobEvent Launcher::Worker::event(JobEvent::Kind kind) const {
  JobEvent made;
  made.kind = kind;
  made.job = job;
  made.pid = pid;
  made.adopted = !child;
  return made;
}

void Launcher::Worker::end_because(const std::string& reason, std::int64_t now) {
  if (!ending.empty()) return;
  ending = reason;
  term_mono_ms = now;
  signal_it(SIGTERM);
}

// An adopted worker need not lead a group.
void Launcher::Worker::signal_it(int number) const {
  if (pid <= 1 || signal_group(pid, number) || child) return;
  kill(static_cast<pid_t>(pid), number);
}

template <typename Locked>
std::optional<ProcessEnd> Launcher::Worker::look(std::int64_t now, Locked locked) {
  if (child) return reap_process(pid);
  // A worker that is just starting must not meet our look at its lock: it would take it for another
  // worker. Its heartbeat or result comes after it has the lock.
  const bool shown = seen_alive || fs::exists(file("heartbeat")) || fs::exists(file("result.json"));
  if (shown && locked()) {
    seen_alive = true;
    if (pid == 0) pid = lock_holder(file("lock"));
    return std::nullopt;
  }
  if (shown) return ProcessEnd{};
  if (now - started_mono_ms < kSpoolPatienceMs && ending.empty()) return std::nullopt;
  std::error_code ignored;
  fs::remove(fs::path(limits.spool_dir) / job, ignored);
  if (ending.empty()) ending = "not_started";
  return ProcessEnd{};
}

std::optional<Heartbeat> Launcher::Worker::new_heartbeat(std::int64_t now) {
  auto text = read_file(file("heartbeat"), kSmallFile);
  if (!text || *text == heartbeat) return std::nullopt;
  heartbeat = std::move(*text);
  // One that does not parse is no sign of life: a writer that is out of its mind.
  const auto beat = parse_heartbeat(heartbeat);
  if (!beat) return std::nullopt;
  sign_mono_ms = now;
  return *beat;
}

// TERM was sent: KILL when the grace is over. Else: is it too old, or silent?
void Launcher::Worker::enforce_limits(std::int64_t now) {
  if (!ending.empty()) {
    if (!killed && now - term_mono_ms >= limits.kill_grace_ms) {
      killed = true;
      signal_it(SIGKILL);
    }
  } else if (now - started_mono_ms >= limits.max_duration_ms) {
    end_because("timeout", now);
  } else if (now - sign_mono_ms >= limits.heartbeat_timeout_ms) {
    end_because("hung", now);
  }
}

// The worker's end without, or in spite of, its own account.
JobResult Launcher::Worker::name_death(const ProcessEnd& end) const {
  const std::string words = last_words(file("worker.log"));
  const std::string said = words.empty() ? "" : "; its last words: " + words;
  if (!ending.empty()) {
    const std::string how = (killed ? " (KILL after the grace)" : "") + said;
    if (ending == "timeout") return failed("timeout", "longer than max_duration" + how);
    if (ending == "hung") return failed("hung", "no heartbeat in time" + how);
    if (ending == "not_started") return failed("not_started", "nobody took it from the spool");
    return failed(ending, "ended on request" + how);
  }
  if (!child) return failed("killed", "the worker let go of its lock without a result" + said);
  const bool oom_struck = end.signal == SIGKILL && oom_kills() > oom_kills_before;
  if (oom_struck) return failed("out_of_memory", "the kernel's OOM killer ended it" + said);
  const bool gave_up = end.signal == SIGABRT || end.exit_code == 3 || end.exit_code == 1;
  if (gave_up && speaks_of_memory(words)) {
    return failed("out_of_memory", "it ran into its memory limit" + said);
  }
  if (end.signal == SIGKILL || end.signal == SIGTERM || end.signal == SIGINT ||
      end.signal == SIGHUP) {
    return failed("killed", "by signal " + std::to_string(end.signal) + " from outside" + said);
  }
  if (end.signal != 0) {
    return failed("crashed", "by signal " + std::to_string(end.signal) + said);
  }
  if (end.exit_code == 0)
    return failed("no_result", "it ended well but left no result.json" + said);
  if (end.exit_code == 2) return failed("bad_job", "it refused the job" + said);
  if (end.exit_code == 4) return failed("interrupted", "it stopped and can go on" + said);
  return failed("crashed", "exit code " + std::to_string(end.exit_code) + said);
}

JobEvent Launcher::Worker::exited(const ProcessEnd& end, const Result<JobResult>& result) const {
  JobEvent made = event(JobEvent::Kind::kExited);
  made.exit_code = end.exit_code;
  made.signal = end.signal;
  // A worker that we end writes "interrupted"; why is ours to name. Its own "ok" and its own reason
  // for a failure stand.
  const bool own_account = result && (ending.empty() || result->status != "interrupted");
  if (own_account) {
    made.result = *result;
  } else if (!result && result.error().code == Code::kCorrupt && ending.empty()) {
    made.result = failed("no_result", result.error().message);
  } else {
    made.result = name_death(end);
  }
  const std::string& reason = made.result.reason;
  const bool stopped =
      made.result.status == "interrupted" || reason == "interrupted" || reason == "killed";
  made.resumable = ending.empty() && stopped && has_checkpoint(folder);
  return made;
}

// The log is appended to by the worker itself (it must not die with us), so it is bounded from
// outside: beyond the size its end is kept as worker.log.1 and the file starts anew.
static void bound_log(const fs::path& log, std::int64_t bytes) {
  std::error_code error;
  const auto size = fs::file_size(log, error);
  if (error || static_cast<std::int64_t>(size) <= bytes) return;
  const int fd = open(log.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  std::string tail(static_cast<std::size_t>(bytes), '\0');
  const ssize_t got = pread(fd, tail.data(), tail.size(), static_cast<off_t>(size) - bytes);
  if (got > 0) {
    tail.resize(static_cast<std::size_t>(got));
    // Best effort: a log that cannot be kept is cut all the same.
    [[maybe_unused]] const auto kept = write_atomic(log.string() + ".1", tail, 0640);
  }
  [[maybe_unused]] const int cut = ftruncate(fd, 0);
  close(fd);
}

Launcher::Launcher(Clock& clock, fs::path jobs) : clock_(clock), jobs_(std::move(jobs)) {}
Launcher::~Launcher() = default;

bool Launcher::is_locked(const std::string& job) const {
  // Not FileLock: a look must not create the file.
  const int fd = open((jobs_ / job / "lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool locked = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(fd);
  return locked;
}

Status Launcher::start(const std::string& job, const config::LimitSettings& limits) {
  const fs::path folder = fs::absolute(jobs_ / job);
  if (workers_.contains(job)) return fail(Code::kConflict, job + " is running already");
  if (!fs::exists(folder / "job.yaml")) {
    return fail(Code::kNotFound, (folder / "job.yaml").string() + ": no such job");
  }
  if (is_locked(job)) {
    return fail(Code::kConflict,
                job + ": a worker holds " + (folder / "lock").string() + "; adopt it");
  }
  // Left from an interrupted run: they would be read as this one's.
  std::error_code ignored;
  fs::remove(folder / "result.json", ignored);
  fs::remove(folder / "heartbeat", ignored);
  auto worker = std::make_unique<Worker>();
  worker->job = job;
  worker->folder = folder;
  worker->limits = limits;
  worker->started_mono_ms = worker->sign_mono_ms = clock_.mono_ms();
  worker->oom_kills_before = oom_kills();
  if (limits.launcher == config::LauncherKind::kSpool) {
    TRIMTAB_CHECK_OK(make_folders(limits.spool_dir));
    TRIMTAB_CHECK_OK(write_atomic(fs::path(limits.spool_dir) / job, folder.string() + "\n"));
  } else {
    TRIMTAB_TRY(const auto program, find_worker(limits.worker));
    const ProcessOptions options{
        .argv = {program.string(), "train", (folder / "job.yaml").string()},
        .folder = folder,
        .output = folder / "worker.log",
        .memory_bytes = limits.memory_bytes,
        .nice = limits.nice};
    TRIMTAB_TRY(worker->pid, start_process(options));
    worker->child = true;
    // For adoption; its absence costs only the power to end the worker.
    const OrderedJson identity = {{"pid", worker->pid},
                                  {"ticks", process_start_ticks(worker->pid)},
                                  {"started_ms", clock_.now_ms()}};
    auto written = write_atomic(folder / "pid", dump_json(identity));
    if (!written) worker->end_because("disk_full", clock_.mono_ms());
  }
  workers_[job] = std::move(worker);
  return {};
}

Status Launcher::adopt(const std::string& job, const config::LimitSettings& limits) {
  if (workers_.contains(job)) return {};
  if (!is_locked(job)) return fail(Code::kNotFound, job + ": nobody holds its lock");
  auto worker = std::make_unique<Worker>();
  worker->job = job;
  worker->folder = fs::absolute(jobs_ / job);
  worker->limits = limits;
  worker->seen_alive = true;
  worker->started_mono_ms = worker->sign_mono_ms = clock_.mono_ms();
  worker->oom_kills_before = oom_kills();
  worker->pid = lock_holder(worker->file("lock"));
  const auto text = read_file(worker->file("pid"), kSmallFile);
  const auto identity = text ? parse_json(*text) : fail(Code::kNotFound, "");
  if (identity) {
    const auto pid = json_or<std::int64_t>(*identity, "pid", 0);
    const auto ticks = json_or<std::int64_t>(*identity, "ticks", 0);
    if (ticks != 0 && process_start_ticks(pid) == ticks) worker->pid = pid;
    // The time it has run already counts against max_duration; a clock that jumped back does not.
    const auto ran =
        clock_.now_ms() - json_or<std::int64_t>(*identity, "started_ms", clock_.now_ms());
    worker->started_mono_ms -= std::max<std::int64_t>(0, ran);
  }
  workers_[job] = std::move(worker);
  return {};
}

void Launcher::cancel(const std::string& job, const std::string& reason) {
  const auto found = workers_.find(job);
  if (found != workers_.end()) found->second->end_because(reason, clock_.mono_ms());
}

std::vector<std::string> Launcher::running() const {
  std::vector<std::string> jobs;
  for (const auto& [job, worker] : workers_) jobs.push_back(job);
  return jobs;
}

Result<JobResult> Launcher::read_result(const std::string& job) const {
  TRIMTAB_TRY(const auto text, read_file(jobs_ / job / "result.json", kSmallFile));
  return parse_result(text);
}

std::vector<JobEvent> Launcher::poll() {
  std::vector<JobEvent> events;
  const std::int64_t now = clock_.mono_ms();
  for (auto entry = workers_.begin(); entry != workers_.end();) {
    Worker& worker = *entry->second;
    const auto end = worker.look(now, [&] { return is_locked(worker.job); });
    if (!worker.announced && worker.alive_once()) {
      worker.announced = true;
      events.push_back(worker.event(JobEvent::Kind::kStarted));
    }
    if (const auto beat = worker.new_heartbeat(now)) {
      events.push_back(worker.event(JobEvent::Kind::kProgress));
      events.back().heartbeat = *beat;
    }
    if (end) {
      events.push_back(worker.exited(*end, read_result(worker.job)));
      entry = workers_.erase(entry);
      continue;
    }
    bound_log(worker.file("worker.log"), worker.limits.log_bytes);
    if (worker.alive_once()) worker.enforce_limits(now);
    ++entry;
  }
  return events;
}

Result<fs::path> find_worker(const std::string& worker) {
  if (worker.find('/') != std::string::npos) {
    if (access(worker.c_str(), X_OK) == 0) return fs::absolute(worker);
    return fail(Code::kNotFound, worker + ": no such program; set retrain.limits.worker");
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = self.parent_path() / worker;
  if (!error && access(beside.c_str(), X_OK) == 0) return beside;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const fs::path candidate = fs::path(rest.substr(0, colon)) / worker;
    if (candidate.is_absolute() && access(candidate.c_str(), X_OK) == 0) return candidate;
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
  }
  return fail(Code::kNotFound, worker + ": neither in " + self.parent_path().string() +
                                   " nor in PATH; set retrain.limits.worker");
}

}  // namespace trimtab::retrain
