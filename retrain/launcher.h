// Launcher: runs one worker process per job and says what became of it.
//
// poll() never blocks: control calls it every tick (effects threads may, too, but one thread at a
// time). No SIGCHLD handler: only our own children are waited for, by pid, so other children of the
// process are left alone. A worker is a process group of its own with nice, RLIMIT_AS and no
// core file; its output goes to `worker.log` in the job folder, bounded.
//
//   start() -> kStarted, kProgress.., kExited (once, with a JobResult that is never missing)
//   deadline or silence or cancel(): TERM to the group, `kill_grace` later KILL.
// A worker that outlived the daemon holds `lock` in its job folder: adopt() watches it by its lock,
// heartbeat and result, and kills it by the pid in the folder's `pid` file. Launcher kSpool starts
// it by a file in the spool folder (systemd/trimtab-worker@.service) and adopts it likewise.
//
// Names of a death without a result.json: killed (a signal not ours), hung (no heartbeat),
// timeout (max_duration), cancelled, out_of_memory (SIGKILL while the kernel's or cgroup's oom_kill
// count rose, or exit 3 with std::bad_alloc's message), crashed (SIGSEGV, SIGABRT, ..), no_result
// (exit 0 without a document), bad_job (exit 2), interrupted (exit 4; resumable), not_started.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/retrain_settings.h"
#include "retrain/job.h"

namespace trimtab::retrain {

struct JobEvent {
  enum class Kind { kStarted, kProgress, kExited };
  Kind kind = Kind::kStarted;
  std::string job;
  std::int64_t pid = 0;
  bool adopted = false;
  Heartbeat heartbeat;  // kProgress
  JobResult result;     // kExited
  bool resumable =
      false;  // kExited: interrupted by signal or shutdown with a checkpoint to go on from
  std::int64_t exit_code = -1;  // kExited: -1 unknown (adopted) or by signal
  std::int64_t signal = 0;
};

class Launcher {
 public:
  // `jobs` is the folder of job folders. `clock` outlives the launcher.
  Launcher(Clock& clock, std::filesystem::path jobs);
  ~Launcher();  // leaves workers running: the next daemon adopts them

  // Starts `<worker> train <jobs>/<job>/job.yaml`; the folder and job.yaml are there. kConflict
  // when a worker holds the folder's lock, kNotFound when the worker program is missing.
  [[nodiscard]] Status start(const std::string& job, const config::LimitSettings& limits);
  // Watches a live worker that holds the lock. kNotFound when nobody does (then: a result.json is
  // there -> read_result, else start() resumes from the checkpoint).
  [[nodiscard]] Status adopt(const std::string& job, const config::LimitSettings& limits);
  // TERM, later KILL. No-op for a job that is not watched.
  void cancel(const std::string& job, const std::string& reason = "cancelled");
  // At most one kProgress a job and call (the newest heartbeat).
  [[nodiscard]] std::vector<JobEvent> poll();
  [[nodiscard]] std::vector<std::string> running() const;

  // result.json of a job that nobody runs; kNotFound when there is none.
  [[nodiscard]] Result<JobResult> read_result(const std::string& job) const;
  // Does somebody hold the job folder's lock?
  [[nodiscard]] bool is_locked(const std::string& job) const;

 private:
  struct Worker;
  Clock& clock_;
  std::filesystem::path jobs_;
  std::map<std::string, std::unique_ptr<Worker>> workers_;
};

// `worker` as configured -> an executable path: as it is with a '/', else beside this program, else
// in PATH. kNotFound says where it looked.
[[nodiscard]] Result<std::filesystem::path> find_worker(const std::string& worker);

}  // namespace trimtab::retrain
