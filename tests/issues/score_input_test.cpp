// `trimtab-worker score`: --adapter took IN for another adapter when IN came behind it, and an
// empty file or a folder as IN ended with exit code 0.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

#include "tests/paths.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

using testing::HasSubstr;

constexpr const char* kItem =
    R"({"id": "1", "messages": [{"role": "user", "content": "ab"}], "text": "cd"})";

class ScoreInputTest : public TrainTest {
 protected:
  void SetUp() override { write_text_base(root_.path() / "base"); }
  Ended score(std::vector<std::string> more) {
    std::vector<std::string> words = {"score", "--base", (root_.path() / "base").string()};
    words.insert(words.end(), more.begin(), more.end());
    return run(words, root_.path());
  }
  void refused(const std::string& in, const std::string& words) {
    const Ended ended = score({"--adapter", "none", in});
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_THAT(ended.err, HasSubstr(in + ": " + words));
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  }
};

TEST_F(ScoreInputTest, TheInputMayStandBehindAnAdapter) {
  const std::string in = file("s.jsonl", std::string(kItem) + "\n");
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--adapter", "none", in, "--likelihood"},
           {"--adapter", "none", "--likelihood", "--adapter", "none", in},
           {in, "--adapter", "none", "--adapter", "none"}}) {
    const Ended ended = score(words);
    EXPECT_EQ(ended.code, 0) << ended.err;
    const auto json = parse_json(ended.out);
    ASSERT_TRUE(json) << ended.out;
    const auto sides = std::count(words.begin(), words.end(), "--adapter");
    EXPECT_EQ((*json)["results"].size(), static_cast<std::size_t>(sides));
  }
}

TEST_F(ScoreInputTest, NothingToScoreIsAnError) {
  refused(file("empty.jsonl", ""), "no_data");
  refused(file("blank.jsonl", "\n\n"), "no_data");
  refused((root_.path() / "base").string(), "is a folder");
  refused((root_.path() / "gone.jsonl").string(), "cannot be opened");
}

TEST_F(ScoreInputTest, AFolderOnStandardInputIsAnError) {
  const std::string worker = (bin_dir() / "trimtab-worker").string();
  const std::string command = "'" + worker + "' tokenize --base '" +
                              (root_.path() / "base").string() + "' 2>/dev/null <";
  EXPECT_EQ(WEXITSTATUS(std::system((command + "'" + root_.path().string() + "'").c_str())), 2);
  EXPECT_EQ(WEXITSTATUS(std::system((command + "/dev/null").c_str())), 0);
}

}  // namespace
}  // namespace trimtab::tests
