// Killed at any moment and started again, a training job ends with the same bytes; a checkpoint
// that does not belong or does not verify is refused by name.
#include <sys/wait.h>

#include <csignal>

#include "base/random.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;

class ResumeTest : public TrainTest {
 protected:
  void SetUp() override {
    write_tiny_base(root_.path() / "base");
    Random random(6);
    for (int i = 0; i < 60; ++i) {
      std::vector<int> ids;
      for (int t = 0; t < 12; ++t) ids.push_back(static_cast<int>(random.below(kTinyVocab)));
      lines_ += Json{{"input_ids", ids}, {"labels", ids}}.dump() + "\n";
    }
    data_ = file("data.jsonl", lines_);
  }

  fs::path job(const std::string& name, const std::string& more = "", int steps = 40) {
    return make_job(name, "data: {tokens: " + data_ + "}\nsteps: " + std::to_string(steps) +
                              "\nbatch_sequences: 8\ncheckpoint_every_steps: 1\n"
                              "lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n"
                              "optimizer: {lr: 0.003}\n" +
                              more);
  }

  // Starts the job and kills it; true when it was alive until then.
  template <typename Moment>
  bool killed_at(const fs::path& folder, Moment moment) {
    const pid_t pid = start({"train", (folder / "job.yaml").string()}, folder);
    if (pid <= 1) return false;
    const auto ended = [&] {
      siginfo_t info{};
      return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
             info.si_pid == pid;
    };
    moment(ended);
    signal_it(pid, SIGKILL);
    const Ended end = finish(pid, folder);
    EXPECT_TRUE(end.code == 0 || end.code == -SIGKILL) << end.code << " " << end.err;
    return end.code == -SIGKILL;
  }

  static bool being_written(const fs::path& checkpoint) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(checkpoint, ignored)) {
      if (entry.path().filename().string().find("state.safetensors.tmp-") == 0) return true;
    }
    return false;
  }

  // A job killed in the middle, with a checkpoint.
  fs::path killed_job(const std::string& name) {
    const fs::path folder = job(name, "", 100000);
    EXPECT_TRUE(killed_at(folder, [&](const auto& ended) {
      while (!fs::exists(state(folder)) && !ended()) clock_.sleep_ms(1);
    }));
    EXPECT_TRUE(fs::exists(state(folder)));
    return folder;
  }
  static fs::path state(const fs::path& folder) {
    return folder / "checkpoint" / "state.safetensors";
  }
  void refused(const fs::path& folder, int code, const std::string& words) {
    const Ended ended = train(folder);
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_NE(ended.err.find(words), std::string::npos) << ended.err;
    EXPECT_FALSE(fs::exists(folder / "out"));
  }

  std::string lines_, data_;
};

// Half of the points at random times, half while a checkpoint is being written (its temporary file
// is there).
TEST_F(ResumeTest, KilledAtFiftyPointsEndsWithTheSameBytes) {
  const fs::path whole = job("whole");
  const std::int64_t begin = clock_.mono_ms();
  ASSERT_EQ(train(whole).code, 0) << read_file(whole / "stderr").value_or("");
  const std::int64_t length = std::max<std::int64_t>(50, clock_.mono_ms() - begin);
  const std::string expected = adapter(whole);
  ASSERT_FALSE(expected.empty());
  const std::uint64_t seed = 4;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  int at_random = 0, while_writing = 0;
  for (int i = 0; at_random < 25 || while_writing < 25; ++i) {
    ASSERT_LT(i, 120) << "the kills come too late to count: " << at_random << " at random, "
                      << while_writing << " while writing";
    const fs::path folder = job("killed" + std::to_string(i));
    for (int round = 0; round < 12; ++round) {
      const bool writing = while_writing < 25 && round % 2 == 1;
      bool seen = false;
      const bool alive = killed_at(folder, [&](const auto& ended) {
        if (!writing) {
          clock_.sleep_ms(
              static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(length))));
          return;
        }
        auto passed = random.below(20);  // the writes before the fatal one
        bool before = false;
        while (!seen && !ended()) {
          const bool now = being_written(folder / "checkpoint");
          if (now && !before && passed-- == 0) seen = true;
          before = now;
        }
      });
      if (!alive) break;
      // A temporary file that outlived the worker: it died before its rename.
      if (writing && being_written(folder / "checkpoint"))
        ++while_writing;
      else
        ++at_random;
    }
    ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
    EXPECT_EQ(adapter(folder), expected) << "job " << i;
    EXPECT_FALSE(being_written(folder / "checkpoint")) << "leftovers";
  }
}

TEST_F(ResumeTest, ASignalLeavesAResumableJob) {
  const fs::path whole = job("whole", "", 3000);
  ASSERT_EQ(train(whole).code, 0);
  const fs::path folder = job("stopped", "checkpoint_every_s: 600\n", 3000);
  const pid_t pid = start({"train", (folder / "job.yaml").string()}, folder);
  ASSERT_GT(pid, 1);
  while (!fs::exists(state(folder)) && !fs::exists(folder / "result.json")) clock_.sleep_ms(1);
  signal_it(pid, SIGTERM);
  ASSERT_EQ(finish(pid, folder).code, 4);
  EXPECT_EQ(result(folder)["status"], "interrupted");
  ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
  EXPECT_EQ(adapter(folder), adapter(whole));
}

TEST_F(ResumeTest, ForeignAndBrokenCheckpointsAreRefusedByName) {
  const fs::path folder = killed_job("first");
  const fs::path other = job("other", "seed: 9\n", 100000);
  ASSERT_TRUE(make_folders(other / "checkpoint"));
  fs::copy_file(state(folder), state(other));
  refused(other, 3, "checkpoint_mismatch");

  // Changed data under the same name.
  const std::string kept = lines_;
  file("data.jsonl", lines_ + R"({"input_ids":[1,2,3],"labels":[1,2,3]})"
                              "\n");
  refused(folder, 3, "checkpoint_mismatch");
  file("data.jsonl", kept);
  // A changed configuration.
  const std::string yaml = read_file(folder / "job.yaml").value();
  std::string changed = yaml;
  changed.replace(changed.find("lr: 0.003"), 9, "lr: 0.004");
  ASSERT_TRUE(write_atomic(folder / "job.yaml", changed));
  refused(folder, 3, "checkpoint_mismatch");
  ASSERT_TRUE(write_atomic(folder / "job.yaml", yaml));

  std::string bytes = read_file(state(folder)).value();
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 0x40);
  const fs::path flipped = job("flipped", "", 100000);
  ASSERT_TRUE(make_folders(flipped / "checkpoint"));
  ASSERT_TRUE(write_atomic(state(flipped), bytes));
  refused(flipped, 2, "digest");

  fs::resize_file(state(folder), fs::file_size(state(folder)) - 100);
  refused(folder, 2, "truncated");
}

// PiSSA's start is made again on resume, from the base: the bytes are the same.
TEST_F(ResumeTest, APissaJobResumesToTheSameBytes) {
  const std::string how = "data: {tokens: " + data_ +
                          "}\nsteps: 2000\nbatch_sequences: 8\ncheckpoint_every_steps: 1\n"
                          "lora: {r: 4, init_lora_weights: pissa}\n";
  const fs::path whole = make_job("whole", how), folder = make_job("killed", how);
  ASSERT_EQ(train(whole).code, 0) << read_file(whole / "stderr").value_or("");
  EXPECT_TRUE(killed_at(folder, [&](const auto& ended) {
    while (!fs::exists(state(folder)) && !ended()) clock_.sleep_ms(1);
  }));
  ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
  EXPECT_EQ(adapter(folder), adapter(whole));
}

}  // namespace
}  // namespace trimtab::tests
