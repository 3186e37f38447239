// A full disk under trimtab-worker: `ulimit -f` killed it by SIGXFSZ and left a temporary file, and
// what the line commands could not write to standard output was lost with exit code 0.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/paths.h"
#include "tests/retrain/train_fixture.h"

extern char** environ;

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class FullDiskTest : public TrainTest {
 protected:
  void SetUp() override { write_text_base(root_.path() / "base"); }
  // With `input` as standard input and /dev/full, where nothing has room, as standard output.
  Ended into_full(std::vector<std::string> words, const std::string& input) {
    const std::string in = file("input", input);
    words.insert(words.begin(), (bin_dir() / "trimtab-worker").string());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/full", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, (root_.path() / "stderr").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t pid = -1;
    const int wrong = posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    EXPECT_EQ(wrong, 0);
    return finish(wrong == 0 ? pid : -1, root_.path());
  }
};

TEST_F(FullDiskTest, StandardOutputThatIsFullIsNoticed) {
  const std::string base = (root_.path() / "base").string();
  const std::string chat = R"([{"role": "user", "content": "hi"}])";
  std::string texts;
  for (int i = 0; i < 3000; ++i) texts += "\"some words\"\n";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"tokenize", "--base", base}, "\"hi\"\n"},
      {{"tokenize", "--base", base}, texts},  // more than a buffer
      {{"detokenize", "--base", base}, "[97, 98]\n"},
      {{"render-chat", "--base", base}, chat + "\n"},
      {{"inspect", base}, ""},
      {{"train", "--schema"}, ""},
      {{"--help"}, ""},
  };
  for (const auto& [words, input] : cases) {
    const Ended ended = into_full(words, input);
    EXPECT_EQ(ended.code, 3) << words[0];
    EXPECT_EQ(ended.err,
              "disk_full: standard output: cannot write (No space left on device)\n")
        << words[0];
  }
}

TEST_F(FullDiskTest, AFileSizeLimitEndsByNameAndLeavesNothing) {
  const std::string tokens =
      file("tokens.jsonl", R"({"input_ids": [1,2,3,4,5], "labels": [1,2,3,4,5]})"
                           "\n");
  const fs::path folder =
      make_job("job", "data: {tokens: " + tokens + "}\nsteps: 2\nlora: {r: 64}\n");
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{16 << 10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const pid_t pid = start({"train", (folder / "job.yaml").string()}, folder);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  const Ended ended = finish(pid, folder);
  EXPECT_EQ(ended.code, 3) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("File too large"));
  EXPECT_EQ(result(folder)["reason"], "disk_full");
  EXPECT_FALSE(fs::exists(folder / "out"));
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    EXPECT_EQ(entry.path().filename().string().find(".tmp-"), std::string::npos) << entry.path();
}

TEST_F(FullDiskTest, LogitsUnderAFileSizeLimitToo) {
  // One row of ids, written by hand: the header's length, the header, int64 values.
  constexpr std::size_t kTokens = 64;
  std::string header = R"({"input_ids":{"dtype":"I64","shape":[1,64],"data_offsets":[0,512]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  bytes += header + std::string(kTokens * 8, '\0');
  const std::string ids = file("ids.safetensors", bytes);
  const fs::path out = root_.path() / "logits" / "out.safetensors";
  ASSERT_TRUE(make_folders(out.parent_path()));
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{16 << 10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const pid_t pid = start({"logits", "--base", (root_.path() / "base").string(), "--ids", ids,
                           "--out", out.string()},
                          root_.path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  const Ended ended = finish(pid, root_.path());
  EXPECT_EQ(ended.code, 3) << ended.err;
  EXPECT_THAT(ended.err, StartsWith("disk_full: "));
  EXPECT_TRUE(fs::is_empty(out.parent_path()));
}

}  // namespace
}  // namespace trimtab::tests
