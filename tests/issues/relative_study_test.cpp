// `trimtab-worker search t/study.yaml`: the paths that the trials' job files got were relative to
// where the command ran, and were then looked up from the trial's folder.
#include "retrain/job.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStudy = R"(base: ../base
out: out
dtype: float32
threads: 1
data: {tokens: d.jsonl, eval: d.jsonl}
steps: 1
orthogonal: {adapters: [earlier]}
search: {sampler: random, trials: 1, space: [{key: lora.r, values: [2, 4]}]}
)";

class RelativeStudyTest : public TrainTest {
 protected:
  void SetUp() override {
    write_tiny_base(root_.path() / "base");
    ASSERT_TRUE(make_folders(root_.path() / "t"));
    (void)file("t/d.jsonl", R"({"input_ids": [1,2,3,4,5], "labels": [1,2,3,4,5]})");
    (void)file("t/study.yaml", kStudy);
    before_ = fs::current_path();
    fs::current_path(root_.path());  // the worker inherits it
  }
  void TearDown() override { fs::current_path(before_); }

  fs::path before_;
};

TEST_F(RelativeStudyTest, RunsFromAnyFolder) {
  const Ended ended = run({"search", "t/study.yaml"}, root_.path());
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(fs::exists("t/out/search.json"));
  fs::current_path("t");
  const Ended beside = run({"search", "study.yaml"}, root_.path());
  EXPECT_EQ(beside.code, 0) << beside.err;
}

TEST_F(RelativeStudyTest, EveryPathOfALoadedJobIsAbsolute) {
  const auto job = retrain::load_job("t/study.yaml");
  ASSERT_TRUE(job) << job.error().message;
  for (const std::string& path :
       {job->base, job->out, job->data.tokens, job->data.eval, job->orthogonal.adapters.at(0)})
    EXPECT_TRUE(fs::path(path).is_absolute()) << path;
}

}  // namespace
}  // namespace trimtab::tests
