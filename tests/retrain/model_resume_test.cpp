// Killed at any moment and started again, a training job ends with the same bytes; a checkpoint
// that does not belong or does not verify is refused by name.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "retrain/model/safetensors.h"
#include "tests/paths.h"

extern char** environ;

namespace trimtab {
namespace {

namespace fs = std::filesystem;
using model::TensorSource;
using model::TensorType;

constexpr int kVocab = 40;
constexpr int kHidden = 32;
constexpr int kInner = 48;

void write_base(const fs::path& folder) {
  ASSERT_TRUE(make_folders(folder));
  const Json config = {{"model_type", "llama"},       {"vocab_size", kVocab},
                       {"hidden_size", kHidden},      {"num_hidden_layers", 2},
                       {"num_attention_heads", 2},    {"num_key_value_heads", 1},
                       {"intermediate_size", kInner}, {"max_position_embeddings", 128},
                       {"tie_word_embeddings", true}, {"torch_dtype", "float32"}};
  ASSERT_TRUE(write_atomic(folder / "config.json", config.dump()));
  Random random(5);
  std::vector<std::vector<float>> values;
  std::vector<TensorSource> sources;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, bool norm) {
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    std::vector<float> data(static_cast<std::size_t>(count));
    for (float& value : data)
      value = static_cast<float>((norm ? 1.0 : 0.0) + 0.2 * random.normal());
    values.push_back(std::move(data));
    sources.push_back({name, TensorType::kF32, std::move(shape), nullptr});
  };
  add("model.embed_tokens.weight", {kVocab, kHidden}, false);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    add(at + "input_layernorm.weight", {kHidden}, true);
    add(at + "post_attention_layernorm.weight", {kHidden}, true);
    add(at + "self_attn.q_proj.weight", {kHidden, kHidden}, false);
    add(at + "self_attn.k_proj.weight", {kHidden / 2, kHidden}, false);
    add(at + "self_attn.v_proj.weight", {kHidden / 2, kHidden}, false);
    add(at + "self_attn.o_proj.weight", {kHidden, kHidden}, false);
    add(at + "mlp.gate_proj.weight", {kInner, kHidden}, false);
    add(at + "mlp.up_proj.weight", {kInner, kHidden}, false);
    add(at + "mlp.down_proj.weight", {kHidden, kInner}, false);
  }
  add("model.norm.weight", {kHidden}, true);
  for (std::size_t i = 0; i < sources.size(); ++i) sources[i].data = values[i].data();
  ASSERT_TRUE(model::write_safetensors(folder / "model.safetensors", sources, {{"format", "pt"}}));
}

class ResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    write_base(root_.path() / "base");
    Random random(6);
    std::string lines;
    for (int i = 0; i < 60; ++i) {
      std::vector<int> ids;
      for (int t = 0; t < 12; ++t) ids.push_back(static_cast<int>(random.below(kVocab)));
      lines += Json{{"input_ids", ids}, {"labels", ids}}.dump() + "\n";
    }
    ASSERT_TRUE(write_atomic(root_.path() / "data.jsonl", lines));
  }

  fs::path make_job(const std::string& name, const std::string& more = "", int steps = 40) {
    const fs::path folder = root_.path() / name;
    EXPECT_TRUE(make_folders(folder));
    const std::string job =
        "base: " + (root_.path() / "base").string() + "\nout: " + (folder / "out").string() +
        "\ndtype: float32\ndata: {tokens: " + (root_.path() / "data.jsonl").string() +
        "}\nsteps: " + std::to_string(steps) +
        "\nbatch_sequences: 8\nthreads: 2\ncheckpoint_every_steps: 1\n"
        "lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\noptimizer: {lr: 0.003}\n" +
        more;
    EXPECT_TRUE(write_atomic(folder / "job.yaml", job));
    return folder;
  }

  static pid_t start(const fs::path& folder) {
    const std::string job = (folder / "job.yaml").string();
    std::string program = tests::bin_dir() / "trimtab-worker";
    std::string verb = "train";
    std::string path = job;
    char* const arguments[] = {program.data(), verb.data(), path.data(), nullptr};
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 2, (folder / "stderr").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, program.c_str(), &quiet, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&quiet);
    return pid;
  }
  static int wait_for(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
  }
  static int run(const fs::path& folder) { return wait_for(start(folder)); }
  static std::string adapter(const fs::path& folder) {
    return read_file(folder / "out" / "adapter_model.safetensors").value_or("");
  }

  TempFolder root_;
  SystemClock clock_;
};

TEST_F(ResumeTest, KilledAtFiftyPointsEndsWithTheSameBytes) {
  const fs::path whole = make_job("whole");
  const std::int64_t begin = clock_.mono_ms();
  ASSERT_EQ(run(whole), 0) << read_file(whole / "stderr").value_or("");
  const std::int64_t length = std::max<std::int64_t>(50, clock_.mono_ms() - begin);
  const std::string expected = adapter(whole);
  ASSERT_FALSE(expected.empty());
  const std::uint64_t seed = 4;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  int kills = 0;
  for (int job = 0; kills < 50; ++job) {
    ASSERT_LT(job, 60) << "the kills come too late to count";
    const fs::path folder = make_job("killed" + std::to_string(job));
    for (int round = 0; round < 20; ++round) {
      const pid_t pid = start(folder);
      clock_.sleep_ms(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(length))));
      ::kill(pid, SIGKILL);
      const int status = wait_for(pid);
      if (WIFEXITED(status)) {
        ASSERT_EQ(WEXITSTATUS(status), 0) << read_file(folder / "stderr").value_or("");
        break;
      }
      ++kills;
    }
    ASSERT_EQ(run(folder), 0) << read_file(folder / "stderr").value_or("");
    EXPECT_EQ(adapter(folder), expected) << "job " << job;
  }
}

TEST_F(ResumeTest, ASignalLeavesAResumableJob) {
  // A job that ends before the signal reaches it says nothing: the next one is longer.
  bool interrupted = false;
  for (int steps = 40; !interrupted && steps <= 2'560; steps *= 4) {
    const std::string of = std::to_string(steps);
    const fs::path folder = make_job("stopped" + of, "checkpoint_every_s: 600\n", steps);
    const pid_t pid = start(folder);
    while (!fs::exists(folder / "checkpoint" / "state.safetensors") &&
           !fs::exists(folder / "result.json"))
      clock_.sleep_ms(1);
    ::kill(pid, SIGTERM);
    const int status = wait_for(pid);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 0) continue;
    interrupted = true;
    EXPECT_EQ(WEXITSTATUS(status), 4);
    const auto result = parse_json(read_file(folder / "result.json").value_or(""));
    ASSERT_TRUE(result);
    EXPECT_EQ((*result)["status"], "interrupted");
    ASSERT_EQ(run(folder), 0) << read_file(folder / "stderr").value_or("");
    const fs::path whole = make_job("whole" + of, "checkpoint_every_s: 600\n", steps);
    ASSERT_EQ(run(whole), 0);
    EXPECT_EQ(adapter(folder), adapter(whole));
  }
  EXPECT_TRUE(interrupted) << "no job was long enough to be interrupted";
}

TEST_F(ResumeTest, ForeignAndBrokenCheckpointsAreRefusedByName) {
  const fs::path folder = make_job("first", "", 100'000);  // ends by being killed
  const pid_t pid = start(folder);
  while (!fs::exists(folder / "checkpoint" / "state.safetensors") &&
         !fs::exists(folder / "result.json"))
    clock_.sleep_ms(1);
  ::kill(pid, SIGKILL);
  (void)wait_for(pid);
  const fs::path state = folder / "checkpoint" / "state.safetensors";
  ASSERT_TRUE(fs::exists(state)) << read_file(folder / "stderr").value_or("");
  ASSERT_TRUE(remove_tree(folder / "out"));

  const fs::path other = make_job("other", "seed: 9\n");
  ASSERT_TRUE(make_folders(other / "checkpoint"));
  fs::copy_file(state, other / "checkpoint" / "state.safetensors");
  int status = run(other);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3);
  EXPECT_NE(read_file(other / "stderr").value_or("").find("checkpoint_mismatch"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(other / "out"));

  fs::resize_file(state, fs::file_size(state) - 100);
  status = run(folder);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2);
  EXPECT_NE(read_file(folder / "stderr").value_or("").find("truncated"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(ResumeTest, NamedFailuresExportNothing) {
  const fs::path exploding = make_job("exploding", "optimizer: {lr: 9.0}\n");
  // A second 'optimizer' key is a duplicate: the job is refused.
  EXPECT_EQ(WEXITSTATUS(run(exploding)), 2);
  EXPECT_FALSE(fs::exists(exploding / "out"));

  ASSERT_TRUE(write_atomic(root_.path() / "data.jsonl",
                           R"({"input_ids":[1,2],"labels":[-100,-100]})"
                           "\n"));
  const fs::path empty = make_job("empty");
  EXPECT_EQ(WEXITSTATUS(run(empty)), 3);
  const auto result = parse_json(read_file(empty / "result.json").value_or(""));
  ASSERT_TRUE(result);
  EXPECT_EQ((*result)["reason"], "no_data");
  EXPECT_FALSE(fs::exists(empty / "out"));
}

}  // namespace
}  // namespace trimtab
