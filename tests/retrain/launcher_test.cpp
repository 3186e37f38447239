// The launcher with real child processes: small shell programs in the worker's place. Time is the
// test's: deadlines pass when the ManualClock is moved; only ends of processes are waited for.
#include "retrain/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>

#include "base/files.h"
#include "retrain/process.h"

namespace trimtab::retrain {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Polls in real time until `done`; processes take milliseconds, the bound is for a broken machine.
bool eventually(const std::function<bool()>& done) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < until) {
    if (done()) return true;
    ::poll(nullptr, 0, 2);
  }
  return false;
}

constexpr const char* kBeat =
    "echo '{\"step\":1,\"steps\":2,\"loss\":0.5,\"ts_ms\":1}' > heartbeat\n";
constexpr const char* kGoodResult =
    "printf '{\"status\":\"ok\",\"adapter_dir\":\"/o\",\"adapter_sha256\":\"%064d\","
    "\"final_loss\":0.1}' 0 > result.tmp && mv result.tmp result.json\n";

class LauncherTest : public testing::Test {
 protected:
  void SetUp() override {
    jobs_ = folder_.path() / "jobs";
    ASSERT_TRUE(make_folders(jobs_ / "job-1"));
    ASSERT_TRUE(write_atomic(jobs_ / "job-1" / "job.yaml", "base: b\n"));
    launcher_.emplace(clock_, jobs_);
    limits_.nice = 0;
    limits_.kill_grace_ms = 1'000;
  }
  void TearDown() override {
    for (const auto& job : launcher_->running()) launcher_->cancel(job);
    clock_.advance_ms(10'000'000);
    eventually([&] { return take_events(), launcher_->running().empty(); });
  }
  void worker(const std::string& body) {
    limits_.worker = (folder_.path() / "worker").string();
    ASSERT_TRUE(write_atomic(limits_.worker, "#!/bin/bash\n" + body, 0755));
  }
  Status start() { return launcher_->start("job-1", limits_); }
  void take_events() {
    for (auto& event : launcher_->poll()) events_.push_back(std::move(event));
  }
  const JobEvent* find(JobEvent::Kind kind) const {
    for (const auto& event : events_) {
      if (event.kind == kind) return &event;
    }
    return nullptr;
  }
  JobEvent wait_exit() {
    EXPECT_TRUE(
        eventually([&] { return take_events(), find(JobEvent::Kind::kExited) != nullptr; }));
    const JobEvent* event = find(JobEvent::Kind::kExited);
    return event != nullptr ? *event : JobEvent{};
  }
  void wait_beat() {
    EXPECT_TRUE(
        eventually([&] { return take_events(), find(JobEvent::Kind::kProgress) != nullptr; }));
  }
  fs::path file(const char* name) const { return jobs_ / "job-1" / name; }

  TempFolder folder_{"launcher"};
  fs::path jobs_;
  ManualClock clock_;
  std::optional<Launcher> launcher_;
  config::LimitSettings limits_;
  std::vector<JobEvent> events_;
};

TEST_F(LauncherTest, AGoodJobStartsProgressesAndEnds) {
  worker(std::string("echo \"args $*\"\n") + kBeat + kGoodResult);
  ASSERT_TRUE(start());
  const JobEvent exited = wait_exit();
  EXPECT_EQ(events_.front().kind, JobEvent::Kind::kStarted);
  EXPECT_GT(events_.front().pid, 1);
  const JobEvent* progress = find(JobEvent::Kind::kProgress);
  ASSERT_NE(progress, nullptr);
  EXPECT_EQ(progress->heartbeat.step, 1);
  EXPECT_EQ(exited.result.status, "ok");
  EXPECT_EQ(exited.exit_code, 0);
  EXPECT_FALSE(exited.resumable);
  EXPECT_TRUE(launcher_->running().empty());
  const auto log = read_file(file("worker.log"));
  ASSERT_TRUE(log);
  EXPECT_EQ(*log, "args train " + file("job.yaml").string() + "\n");
}

TEST_F(LauncherTest, DeathsHaveNames) {
  struct Death {
    const char* body;
    const char* reason;
  };
  for (const Death& death : {Death{"exit 0\n", "no_result"}, Death{"exit 2\n", "bad_job"},
                             Death{"exit 4\n", "interrupted"}, Death{"exit 7\n", "crashed"},
                             Death{"kill -9 $$\n", "killed"}, Death{"kill -TERM $$\n", "killed"},
                             Death{"kill -SEGV $$\n", "crashed"},
                             Death{"echo 'std::bad_alloc' >&2; kill -ABRT $$\n", "out_of_memory"},
                             Death{"echo half > result.json\n", "no_result"},
                             Death{"echo '{\"status\":\"failed\",\"reason\":\"nan_loss\"}' > "
                                   "result.json; exit 3\n",
                                   "nan_loss"}}) {
    events_.clear();
    worker(death.body);
    ASSERT_TRUE(start()) << death.body;
    const JobEvent exited = wait_exit();
    EXPECT_EQ(exited.result.status, "failed") << death.body;
    EXPECT_EQ(exited.result.reason, death.reason) << death.body << exited.result.message;
  }
}

TEST_F(LauncherTest, LastWordsAreInTheMessage) {
  worker("echo one; echo 'cannot read base: no such folder' >&2; exit 7\n");
  ASSERT_TRUE(start());
  EXPECT_THAT(wait_exit().result.message, HasSubstr("cannot read base: no such folder"));
}

TEST_F(LauncherTest, AKilledWorkerWithACheckpointIsResumable) {
  worker("mkdir -p checkpoint; touch checkpoint/a; kill -9 $$\n");
  ASSERT_TRUE(start());
  const JobEvent exited = wait_exit();
  EXPECT_EQ(exited.signal, SIGKILL);
  EXPECT_TRUE(exited.resumable);
}

TEST_F(LauncherTest, SilenceIsHungTermThenKill) {
  // Ignores TERM, and has a child that must go with it.
  worker(std::string("trap '' TERM\nsleep 1000 & echo $! > child\n") + kBeat +
         "while :; do sleep 1; done\n");
  ASSERT_TRUE(start());
  wait_beat();
  clock_.advance_ms(limits_.heartbeat_timeout_ms);
  take_events();  // TERM
  EXPECT_EQ(launcher_->running().size(), 1U);
  clock_.advance_ms(limits_.kill_grace_ms);
  const JobEvent exited = wait_exit();  // KILL
  EXPECT_EQ(exited.result.reason, "hung");
  EXPECT_EQ(exited.signal, SIGKILL);
  EXPECT_FALSE(exited.resumable);
  const auto child = read_file(file("child"));
  ASSERT_TRUE(child);
  const auto pid = static_cast<pid_t>(std::stol(*child));
  // Gone, or a zombie that waits for init.
  EXPECT_TRUE(eventually([&] {
    if (kill(pid, 0) != 0) return true;
    const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    return !stat || stat->find(") Z ") != std::string::npos;
  }));
}

TEST_F(LauncherTest, HeartbeatsKeepItAliveUntilTheDeadline) {
  worker(std::string(kBeat) +
         "n=1; while :; do n=$((n+1)); echo '{\"step\":'$n',\"ts_ms\":1}' > hb; "
         "mv hb heartbeat; sleep 0.01; done\n");
  limits_.max_duration_ms = 100 * limits_.heartbeat_timeout_ms;
  ASSERT_TRUE(start());
  for (int i = 0; i < 5; ++i) {
    const std::size_t before = events_.size();
    ASSERT_TRUE(eventually([&] { return take_events(), events_.size() > before; }));
    clock_.advance_ms(limits_.heartbeat_timeout_ms - 1);
  }
  EXPECT_EQ(find(JobEvent::Kind::kExited), nullptr);
  const std::size_t before = events_.size();
  ASSERT_TRUE(eventually([&] { return take_events(), events_.size() > before; }));
  clock_.advance_ms(limits_.max_duration_ms);
  EXPECT_EQ(wait_exit().result.reason, "timeout");
}

TEST_F(LauncherTest, CancelLetsAWorkerCloseOrderly) {
  worker(std::string(
             "trap 'echo \"{\\\"status\\\":\\\"interrupted\\\"}\" > result.json; exit 4' TERM\n") +
         kBeat + "while :; do sleep 0.01; done\n");
  ASSERT_TRUE(start());
  wait_beat();
  launcher_->cancel("job-1");
  const JobEvent exited = wait_exit();
  EXPECT_EQ(exited.result.status, "failed");
  EXPECT_EQ(exited.result.reason, "cancelled");
  EXPECT_EQ(exited.exit_code, 4);
  EXPECT_FALSE(exited.resumable);
}

TEST_F(LauncherTest, TheMemoryLimitReachesTheWorker) {
  worker("ulimit -v; ulimit -c\nexit 0\n");
  limits_.memory_bytes = 1LL << 30;
  ASSERT_TRUE(start());
  wait_exit();
  const auto log = read_file(file("worker.log"));
  ASSERT_TRUE(log);
  EXPECT_EQ(*log, "1048576\n0\n");
}

TEST_F(LauncherTest, OtherChildrenAreNotReaped) {
  const pid_t other = fork();
  if (other == 0) _exit(42);
  worker("exit 0\n");
  ASSERT_TRUE(start());
  wait_exit();
  int status = 0;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(LauncherTest, DescriptorsOfTheDaemonStayHere) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);  // without CLOEXEC, as a library might open one
  worker("ls /proc/self/fd | wc -l\nexit 0\n");
  ASSERT_TRUE(start());
  wait_exit();
  const auto log = read_file(file("worker.log"));
  ASSERT_TRUE(log);
  EXPECT_LE(std::stol(*log), 4);  // 0, 1, 2 and ls's own
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_F(LauncherTest, AnOrphanIsAdoptedByItsLock) {
  worker(std::string("exec 9>lock; flock -n 9 || exit 5\n") + kBeat +
         "while [ ! -e go ]; do sleep 0.01; done\n" + kGoodResult);
  ASSERT_TRUE(start());
  wait_beat();
  EXPECT_TRUE(launcher_->is_locked("job-1"));
  events_.clear();
  Launcher second(clock_, jobs_);  // the next daemon
  const auto again = second.start("job-1", limits_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  ASSERT_TRUE(second.adopt("job-1", limits_));
  auto seen = second.poll();
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(seen[0].adopted);
  EXPECT_EQ(seen[0].kind, JobEvent::Kind::kStarted);
  EXPECT_GT(seen[0].pid, 1);
  ASSERT_TRUE(write_atomic(file("go"), ""));
  std::vector<JobEvent> all;
  ASSERT_TRUE(eventually([&] {
    for (auto& event : second.poll()) all.push_back(event);
    return !all.empty() && all.back().kind == JobEvent::Kind::kExited;
  }));
  EXPECT_EQ(all.back().result.status, "ok");
  wait_exit();
}

TEST_F(LauncherTest, AnAdoptedWorkerCanBeEnded) {
  worker(std::string("exec 9>lock; flock -n 9 || exit 5\n") + kBeat + "exec sleep 1000\n");
  ASSERT_TRUE(start());
  wait_beat();
  Launcher second(clock_, jobs_);
  ASSERT_TRUE(second.adopt("job-1", limits_));
  second.cancel("job-1");
  wait_exit();  // reaped by its parent
  std::vector<JobEvent> all;
  ASSERT_TRUE(eventually([&] {
    for (auto& event : second.poll()) all.push_back(event);
    return !all.empty() && all.back().kind == JobEvent::Kind::kExited;
  }));
  EXPECT_EQ(all.back().result.reason, "cancelled");
}

TEST_F(LauncherTest, NobodyToAdopt) {
  EXPECT_EQ(launcher_->adopt("job-1", limits_).error().code, Code::kNotFound);
  EXPECT_FALSE(launcher_->is_locked("job-1"));
  EXPECT_FALSE(fs::exists(file("lock"))) << "a look must not create it";
}

TEST_F(LauncherTest, AStaleResultIsNotTakenForTheNewRuns) {
  worker(std::string(kGoodResult));
  ASSERT_TRUE(start());
  EXPECT_EQ(wait_exit().result.status, "ok");
  EXPECT_TRUE(launcher_->read_result("job-1"));
  events_.clear();
  worker("exit 0\n");
  ASSERT_TRUE(start());
  EXPECT_EQ(wait_exit().result.reason, "no_result");
}

TEST_F(LauncherTest, TheLogIsBounded) {
  worker(std::string(kBeat) +
         "head -c 300000 /dev/zero | tr '\\0' x; touch written\n"
         "while [ ! -e go ]; do sleep 0.01; done\necho end\nexit 7\n");
  limits_.log_bytes = 10'000;
  ASSERT_TRUE(start());
  ASSERT_TRUE(eventually([&] { return fs::exists(file("written")); }));
  take_events();
  EXPECT_EQ(fs::file_size(file("worker.log.1")), 10'000U);
  ASSERT_TRUE(write_atomic(file("go"), ""));
  EXPECT_THAT(wait_exit().result.message, HasSubstr("end"));
  EXPECT_EQ(*read_file(file("worker.log")), "end\n");
}

TEST_F(LauncherTest, TheSpoolIsAFileAndThenAnAdoption) {
  limits_.launcher = config::LauncherKind::kSpool;
  limits_.spool_dir = (folder_.path() / "spool").string();
  ASSERT_TRUE(start());
  const auto spooled = read_file(fs::path(limits_.spool_dir) / "job-1");
  ASSERT_TRUE(spooled);
  EXPECT_EQ(*spooled, fs::absolute(jobs_ / "job-1").string() + "\n");
  EXPECT_TRUE(launcher_->poll().empty());
  {
    auto lock = FileLock::acquire(file("lock"));  // systemd's worker
    ASSERT_TRUE(lock);
    ASSERT_TRUE(write_atomic(file("heartbeat"), heartbeat_json({.step = 1, .ts_ms = 1})));
    take_events();
    ASSERT_NE(find(JobEvent::Kind::kStarted), nullptr);
    EXPECT_TRUE(events_[0].adopted);
  }
  const JobEvent exited = wait_exit();
  EXPECT_EQ(exited.result.reason, "killed");
}

TEST_F(LauncherTest, ASpoolThatNobodyReadsIsNamed) {
  limits_.launcher = config::LauncherKind::kSpool;
  limits_.spool_dir = (folder_.path() / "spool").string();
  ASSERT_TRUE(start());
  clock_.advance_ms(120'000);
  EXPECT_EQ(wait_exit().result.reason, "not_started");
  EXPECT_FALSE(fs::exists(fs::path(limits_.spool_dir) / "job-1"));
}

TEST_F(LauncherTest, StartFailuresAreErrors) {
  limits_.worker = "/nonexistent/worker";
  auto status = start();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNotFound);
  limits_.worker = "no-such-program-anywhere";
  EXPECT_EQ(start().error().code, Code::kNotFound);
  limits_.worker = (folder_.path() / "broken").string();
  ASSERT_TRUE(write_atomic(limits_.worker, "#!/no/such/interpreter\n", 0755));
  EXPECT_EQ(start().error().code, Code::kNotFound);
  EXPECT_EQ(launcher_->start("job-404", limits_).error().code, Code::kNotFound);
  EXPECT_TRUE(launcher_->running().empty());
}

}  // namespace
}  // namespace trimtab::retrain
