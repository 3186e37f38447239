// Training that goes wrong under the whole trimtabd, with the real worker: killed, hung, out of
// memory, exploding, without data; the daemon stopped in the middle. The job ends with a name, the
// champion stays (OPERATIONS.md section 5, faults 16, 17, 18, 20, 24).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "base/files.h"
#include "base/json.h"
#include "tests/fault/daemon_process.h"
#include "tests/paths.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class TrainingFaultTest : public ::testing::Test {
 protected:
  void TearDown() override {
    // A worker that outlives its daemon is meant to; not the test.
    if (const auto pid = worker_pid(); alive(pid)) ::kill(pid, SIGKILL);
  }
  // `limits` and `training`: YAML flow entries, each followed by a comma.
  void configure(const std::string& limits = "", const std::string& training = "",
                 const std::string& data = "") {
    ConfigParts parts;
    parts.state = daemon_.state();
    parts.target =
        "    eval_share: 0.1\n    serving: {driver: file}\n    drift: {reference_size: 100000}\n" +
        std::string("    retrain:\n      minimum_examples: 20\n      cooldown: 0s\n") +
        "      data: {near_duplicate: 1, decontaminate_ngram: 64, max_per_class: 0, " + data +
        "quarantine_minimum: 100000}\n" + "      training: {" + training +
        "lora: {r: 4, lora_alpha: 8}, batch_sequences: 8}\n" + "      limits: {" + limits +
        "threads: 1, nice: 0, checkpoint_every_steps: 5, checkpoint_every: 1s}\n";
    daemon_.write_config(daemon_config(parts));
  }
  void start() {
    daemon_.start();
    ASSERT_TRUE(daemon_.wait_started()) << daemon_.log();
  }
  // Records with a correction each, from `sources` people, so long ago.
  void send_corrections(int count, int sources = 1'000, std::int64_t ago_ms = 0) {
    Json records = Json::array(), feedback = Json::array();
    for (int i = 0; i < count; ++i) {
      const std::string id = "r" + std::to_string(sent_++);
      const std::int64_t now_ms = daemon_.clock().now_ms() - ago_ms;
      records.push_back({{"id", id},
                         {"ts", now_ms},
                         {"target", "bot"},
                         {"session_id", "s-" + id},
                         {"input", "please tell me about parcel number " + id},
                         {"output", "no"}});
      feedback.push_back({{"kind", "feedback"},
                          {"feedback_id", "f" + id},
                          {"id", id},
                          {"ts", now_ms + 1},
                          {"name", "fix"},
                          {"score", 0},
                          {"correction", "track_parcel"},
                          {"selection", "user"},
                          {"source_id", "person-" + std::to_string(sent_ % sources)}});
    }
    int status = 0;
    (void)daemon_.post("/api/v1/records", records, &status);
    ASSERT_EQ(status, 202);
    (void)daemon_.post("/api/v1/feedback", feedback, &status);
    ASSERT_EQ(status, 202);
  }
  Json retrain() {
    return daemon_.post("/api/v1/targets/bot:retrain", {{"actor", "t"}, {"reason", "test"}});
  }
  Json job() { return daemon_.get("/api/v1/jobs/job-1"); }
  bool job_is(const std::string& state) {
    return daemon_.eventually([&] { return job().value("state", "") == state; }, 200'000);
  }
  // Of the worker that the launcher started; 0: none is known.
  pid_t worker_pid() const {
    const auto text = read_file(daemon_.state() / "jobs/job-1/pid");
    if (!text) return 0;
    const auto identity = parse_json(*text);
    return identity ? static_cast<pid_t>(identity->value("pid", 0)) : 0;
  }
  // kill(2) takes 0 and -1 for whole groups of processes: never those, whatever the file says.
  static void signal_worker(pid_t pid, int number) {
    ASSERT_GT(pid, 1) << "no worker is known";
    ASSERT_EQ(::kill(pid, number), 0);
  }
  bool worker_trains() {
    return daemon_.eventually(
        [&] { return fs::exists(daemon_.state() / "jobs/job-1/checkpoint/state.safetensors"); },
        90'000);
  }
  static bool alive(pid_t pid) { return pid > 1 && ::kill(pid, 0) == 0; }
  void expect_champion_untouched() {
    EXPECT_EQ(daemon_.champion("bot"), "base");
    EXPECT_EQ(daemon_.get("/api/v1/routing?target=bot").at("arms").size(), 1U);
    EXPECT_EQ(daemon_.status_of("/healthz"), 200);
  }

  TempFolder folder_{"training-faults"};
  DaemonProcess daemon_{folder_.path()};
  int sent_ = 0;
};

const char* const kLong = "epochs: 1000, max_steps: 100000, ";

// --- 24: the daemon ends in time, its worker goes on, the next daemon adopts it
TEST_F(TrainingFaultTest, SigtermInTheMiddleEndsInTimeAndTheNextDaemonAdopts) {
  configure("", "epochs: 1000, max_steps: 60, ");
  start();
  send_corrections(60);
  (void)retrain();
  ASSERT_TRUE(job_is("running")) << job().dump() << daemon_.log();
  ASSERT_TRUE(worker_trains());
  const pid_t worker = worker_pid();
  const std::int64_t asked_ms = daemon_.clock().mono_ms();
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0) << daemon_.log();
  EXPECT_LT(daemon_.clock().mono_ms() - asked_ms, 20'000);
  EXPECT_TRUE(alive(worker) || fs::exists(daemon_.state() / "jobs/job-1/result.json"));
  start();
  EXPECT_TRUE(job_is("ok")) << job().dump() << daemon_.log();
  EXPECT_EQ(job().value("restarts", -1), 0);
}

// The service manager's way: everybody gets the signal. The job resumes from its checkpoint.
TEST_F(TrainingFaultTest, AWorkerThatWasStoppedTooResumesFromItsCheckpoint) {
  configure("", "epochs: 1000, max_steps: 8000, ");
  start();
  send_corrections(60);
  (void)retrain();
  ASSERT_TRUE(worker_trains()) << job().dump() << daemon_.log();
  const pid_t worker = worker_pid();
  daemon_.signal(SIGTERM);
  signal_worker(worker, SIGTERM);
  EXPECT_EQ(daemon_.wait_ended(), 0);
  const std::int64_t end_ms = daemon_.clock().mono_ms() + 30'000;
  while (alive(worker) && daemon_.clock().mono_ms() < end_ms) daemon_.clock().sleep_ms(20);
  EXPECT_FALSE(alive(worker));
  start();
  EXPECT_TRUE(daemon_.eventually([&] {
    return job().value("state", "") == "running" && worker_pid() != worker && alive(worker_pid());
  })) << job().dump()
      << daemon_.log();
  const auto log = read_file(daemon_.state() / "jobs/job-1/worker.log").value_or("");
  EXPECT_THAT(log, HasSubstr("stopped by a signal; run again to go on"));
  (void)daemon_.post("/api/v1/jobs/job-1:cancel", {{"actor", "t"}});
  EXPECT_TRUE(job_is("cancelled"));
}

// --- 16
TEST_F(TrainingFaultTest, AWorkerThatCrashesEndsItsJobByName) {
  configure("max_restarts: 0, ", kLong);
  start();
  send_corrections(60);
  (void)retrain();
  ASSERT_TRUE(worker_trains()) << job().dump();
  signal_worker(worker_pid(), SIGSEGV);
  EXPECT_TRUE(job_is("failed")) << job().dump();
  EXPECT_EQ(job().value("reason", ""), "crashed") << job().dump();
  expect_champion_untouched();
}

TEST_F(TrainingFaultTest, TooLittleMemoryIsNamed) {
  configure("memory: 700MiB, ");  // the program's libraries alone take about as much
  start();
  send_corrections(60);
  (void)retrain();
  EXPECT_TRUE(job_is("failed")) << job().dump();
  EXPECT_EQ(job().value("reason", ""), "out_of_memory") << job().dump();
  expect_champion_untouched();
}

// --- 17
TEST_F(TrainingFaultTest, AWorkerThatHangsIsEnded) {
  configure("heartbeat_timeout: 30s, kill_grace: 1s, ", kLong);
  start();
  send_corrections(60);
  (void)retrain();
  ASSERT_TRUE(worker_trains()) << job().dump();
  const pid_t worker = worker_pid();
  signal_worker(worker, SIGSTOP);  // deaf to TERM as well
  EXPECT_TRUE(job_is("failed")) << job().dump() << daemon_.log();
  EXPECT_EQ(job().value("reason", ""), "hung") << job().dump();
  EXPECT_FALSE(alive(worker));
  expect_champion_untouched();
}

TEST_F(TrainingFaultTest, AWorkerThatTakesTooLongIsEnded) {
  configure("max_duration: 3s, kill_grace: 1s, ", kLong);
  start();
  send_corrections(60);
  (void)retrain();
  EXPECT_TRUE(job_is("failed")) << job().dump();
  EXPECT_EQ(job().value("reason", ""), "timeout") << job().dump();
  expect_champion_untouched();
}

// --- 18
TEST_F(TrainingFaultTest, AnExplodingLossIsNamedAndExportsNothing) {
  // A base whose last norm is as large as numbers go: its logits are not numbers any more.
  const fs::path base = folder_.path() / "base";
  fs::copy(source_dir() / "daemon/demo/base", base, fs::copy_options::recursive);
  std::string bytes = *read_file(base / "model.safetensors");
  for (std::size_t at = bytes.size() - 384; at < bytes.size(); ++at) bytes[at] = '\x7f';  // 3.4e38
  ASSERT_TRUE(write_atomic(base / "model.safetensors", bytes));
  configure();
  std::string text = *read_file(folder_.path() / "trimtab.yaml");
  const std::string shipped = (source_dir() / "daemon/demo/base").string();
  text.replace(text.find(shipped), shipped.size(), base.string());
  daemon_.write_config(text);
  start();
  send_corrections(60);
  (void)retrain();
  EXPECT_TRUE(job_is("failed")) << job().dump() << daemon_.log();
  EXPECT_EQ(job().value("reason", ""), "nan_loss") << job().dump();
  EXPECT_FALSE(fs::exists(daemon_.state() / "jobs/job-1/out/adapter_model.safetensors"));
  expect_champion_untouched();
}

TEST_F(TrainingFaultTest, WithoutDataThereIsNoJobAndTheReasonIsSaid) {
  configure();
  start();
  const auto answer = retrain();
  EXPECT_TRUE(answer.value("requested", false)) << answer.dump();
  EXPECT_THAT(answer.value("waits_for", ""), HasSubstr("20")) << answer.dump();
  EXPECT_EQ(daemon_.status_of("/api/v1/jobs/job-1"), 404);
  expect_champion_untouched();
}

// --- 20: what one source pours in within a minute is held back until somebody releases it
TEST_F(TrainingFaultTest, ABurstOfOneSourceIsHeldBackUntilReleased) {
  configure("", "epochs: 1, max_steps: 2, ", "quarantine_window: 1h, ");
  std::string text = *read_file(folder_.path() / "trimtab.yaml");
  const std::string from = "quarantine_minimum: 100000";
  text.replace(text.find(from), from.size(), "quarantine_minimum: 20");
  daemon_.write_config(text);
  start();
  // A day of five an hour from thirty people, then two hundred from one of them.
  for (int hour = 24; hour > 0; --hour) send_corrections(5, 30, hour * 3'600'000LL);
  send_corrections(200, 1);
  (void)retrain();
  ASSERT_TRUE(job_is("ok")) << job().dump() << daemon_.log();
  EXPECT_LE(job().value("examples", 0), 120) << "it trained on the burst: " << job().dump();
  const auto view = daemon_.get("/api/v1/targets/bot");
  EXPECT_GT(view.value("quarantined", 0), 100) << view.dump();
  expect_champion_untouched();
}

}  // namespace
}  // namespace trimtab::tests
