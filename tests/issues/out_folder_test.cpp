// `trimtab-worker train` and `search` deleted whatever stood at `out`, at `out.tmp` or at
// `out.old`: a user's folder, even the training data.
#include <gmock/gmock.h>

#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kLine = R"({"input_ids": [1,2,3,4,5], "labels": [1,2,3,4,5]})";

class OutFolderTest : public TrainTest {
 protected:
  void SetUp() override {
    write_tiny_base(root_.path() / "base");
    data_ = file("data.jsonl", std::string(kLine) + "\n");
    folder_ = make_job("job", "data: {tokens: " + data_ + "}\nsteps: 1\nlora: {r: 2}\n");
  }
  void set_out(const std::string& out) {
    std::string yaml = read_file(folder_ / "job.yaml").value();
    const std::size_t begin = yaml.find("out: ");
    yaml.replace(begin, yaml.find('\n', begin) - begin, "out: " + out);
    ASSERT_TRUE(write_atomic(folder_ / "job.yaml", yaml));
  }
  void put(const fs::path& path) {
    ASSERT_TRUE(make_folders(path.parent_path()));
    ASSERT_TRUE(write_atomic(path, "mine"));
  }
  void refused(const fs::path& named, const std::string& command = "train") {
    const Ended ended = run({command, (folder_ / "job.yaml").string()}, folder_);
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("bad_job: out: " + named.string()));
    EXPECT_THAT(ended.err, HasSubstr("name another out"));
    EXPECT_EQ(result(folder_)["reason"], "bad_job");
  }

  std::string data_;
  fs::path folder_;
};

TEST_F(OutFolderTest, AFolderWithOtherFilesIsRefusedAndStays) {
  put(folder_ / "out" / "thesis.txt");
  refused(folder_ / "out");
  EXPECT_EQ(read_file(folder_ / "out" / "thesis.txt").value_or(""), "mine");
  EXPECT_FALSE(fs::exists(folder_ / "out.tmp"));
  set_out("notes");
  put(folder_ / "notes" / "README.md");  // a name that a job writes, but no result
  refused(folder_ / "notes");
}

TEST_F(OutFolderTest, AFileIsRefusedEvenTheTrainingData) {
  set_out(data_);
  refused(data_);
  EXPECT_EQ(read_file(data_).value_or(""), std::string(kLine) + "\n");
  fs::create_symlink("nowhere", folder_ / "link");
  set_out("link");
  refused(folder_ / "link");
}

TEST_F(OutFolderTest, TheJobsOwnFolderIsRefused) {
  set_out(".");
  refused(folder_);
  EXPECT_TRUE(fs::exists(folder_ / "job.yaml"));
}

TEST_F(OutFolderTest, AFolderThatIsNamedAsOurTemporaryIsRefusedAndStays) {
  put(folder_ / "out.tmp" / "thesis.txt");
  refused(folder_ / "out.tmp");
  EXPECT_EQ(read_file(folder_ / "out.tmp" / "thesis.txt").value_or(""), "mine");
}

TEST_F(OutFolderTest, AnEmptyFolderAndAFormerResultAreReplacedAndNothingElseGoes) {
  ASSERT_TRUE(make_folders(folder_ / "out"));
  set_out("out/");
  ASSERT_EQ(train(folder_).code, 0) << read_file(folder_ / "stderr").value_or("");
  const std::string before = adapter(folder_);
  EXPECT_FALSE(before.empty());
  put(folder_ / "out.old" / "thesis.txt");
  put(folder_ / "out.old-0" / "thesis.txt");
  ASSERT_EQ(train(folder_).code, 0) << read_file(folder_ / "stderr").value_or("");
  EXPECT_EQ(adapter(folder_), before);
  EXPECT_TRUE(fs::exists(folder_ / "out.old" / "thesis.txt"));
  EXPECT_TRUE(fs::exists(folder_ / "out.old-0" / "thesis.txt"));
  EXPECT_FALSE(fs::exists(folder_ / "out.old-1"));
  EXPECT_FALSE(fs::exists(folder_ / "out.tmp"));
  // A file that was laid beside the result is not ours to remove.
  put(folder_ / "out" / "adapter.gguf");
  refused(folder_ / "out");
  EXPECT_EQ(read_file(folder_ / "out" / "adapter.gguf").value_or(""), "mine");
}

TEST_F(OutFolderTest, AStudyKeepsTheSameRules) {
  std::string yaml = read_file(folder_ / "job.yaml").value();
  yaml.replace(yaml.find("jsonl}"), 6, "jsonl, eval: " + data_ + "}");
  yaml += "search: {sampler: random, trials: 1, space: [{key: lora.r, values: [2, 4]}]}\n";
  ASSERT_TRUE(write_atomic(folder_ / "job.yaml", yaml));
  put(folder_ / "out" / "thesis.txt");
  refused(folder_ / "out", "search");
  EXPECT_EQ(read_file(folder_ / "out" / "thesis.txt").value_or(""), "mine");
  ASSERT_TRUE(remove_tree(folder_ / "out"));
  for (int i = 0; i < 2; ++i) {  // again: its own result is replaced
    const Ended ended = run({"search", (folder_ / "job.yaml").string()}, folder_);
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_TRUE(fs::exists(folder_ / "out" / "search.json"));
  }
}

}  // namespace
}  // namespace trimtab::tests
