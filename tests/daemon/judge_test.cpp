// The judge: questions in both orders, ties, budget, time-outs; and how its verdicts and the text
// metrics reach a pair. Judged by a stub, and by trimtab-worker serve as the real thing.
#include "daemon/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>

#include "base/files.h"
#include "base/json.h"
#include "base/net/server.h"
#include "daemon/score_annotate.h"
#include "shadow/shadow_gate.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

using ::testing::HasSubstr;

// Prefers the answer that contains "good"; `biased` always says A.
class StubJudge {
 public:
  StubJudge() : server_({.name = "judge", .port = 0, .workers = 2, .queue = 16}, clock_) {
    server_.post("/v1/chat/completions", [this](const net::Request& request) {
      ++calls;
      if (status != 200) return net::text_response(status, "no");
      const Json body = *parse_json(request.body);
      last_ = body;
      authorization_ = std::string(request.headers.get("Authorization"));
      const std::string text = body["messages"][1]["content"];
      const auto a = text.find("Answer A:\n");
      const auto b = text.find("Answer B:\n");
      const bool good_a = text.substr(a, b - a).find("good") != std::string::npos;
      const bool good_b = text.substr(b).find("good") != std::string::npos;
      std::string said = good_a == good_b ? "C" : good_a ? "A" : "B";
      if (!fixed.empty()) said = fixed;
      return net::json_response(
          200, Json{{"choices", {{{"message", {{"role", "assistant"}, {"content", said}}}}}},
                    {"usage", {{"total_tokens", 50}}}});
    });
    const auto started = server_.start();
    EXPECT_TRUE(started.has_value());
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_.port()); }
  std::atomic<int> calls{0};
  std::atomic<int> status{200};
  std::string fixed;
  Json last_;
  std::string authorization_;

 private:
  SystemClock clock_;
  net::Server server_;
};

config::JudgeSettings settings_for(const std::string& url) {
  config::JudgeSettings settings;
  settings.url = url;
  settings.model = "judge-1";
  settings.timeout_ms = 5'000;
  return settings;
}

constexpr const char* kMessages = R"([{"role":"user","content":"where is my card?"}])";

TEST(Judge, NamesTheBetterAnswerInEitherOrderAndTiesOtherwise) {
  StubJudge stub;
  SystemClock clock;
  auto judge = Judge::create(settings_for(stub.url()), clock);
  ASSERT_TRUE(judge.has_value()) << judge.error().message;
  EXPECT_EQ((*judge)->judge(kMessages, "bad", "good", "")->d, 1.0);
  EXPECT_EQ((*judge)->judge(kMessages, "good", "bad", "")->d, -1.0);
  EXPECT_EQ((*judge)->judge(kMessages, "good x", "good y", "the card")->d, 0.0);
  EXPECT_EQ(stub.calls, 6) << "each pair is asked twice";
  EXPECT_THAT(stub.last_["messages"][1]["content"].get<std::string>(), HasSubstr("the card"));
  EXPECT_EQ(stub.last_["temperature"], 0);
  EXPECT_EQ((*judge)->judge(kMessages, "same", "same", "")->d, 0.0);
  EXPECT_EQ(stub.calls, 6) << "identical answers cost nothing";
  stub.fixed = "A";  // a judge who always prefers the first place
  EXPECT_EQ((*judge)->judge(kMessages, "bad", "good", "")->d, 0.0);
  stub.fixed = "I would say that";
  const auto silent = (*judge)->judge(kMessages, "bad", "good", "");
  ASSERT_TRUE(silent.has_value());
  EXPECT_FALSE(silent->d.has_value()) << "what is no verdict is missing, not a tie";
  EXPECT_EQ(silent->tokens, 100);
}

TEST(Judge, ReadsLettersHoweverTheyAreWrapped) {
  using Choice = Judge::Choice;
  for (const char* text : {"A", " a.", "**A**", "Answer: A", "answer A", "(A)"}) {
    EXPECT_EQ(Judge::choice_of(text), Choice::kA) << text;
  }
  EXPECT_EQ(Judge::choice_of("B is better"), Choice::kB);
  EXPECT_EQ(Judge::choice_of("tie"), Choice::kTie);
  for (const char* text : {"", "   ", "Both", "neither", "answer", "42"}) {
    EXPECT_FALSE(Judge::choice_of(text).has_value()) << text;
  }
}

TEST(Judge, KeepsToItsBudgetAndSaysWhenItGoesOn) {
  StubJudge stub;
  ManualClock clock;
  auto settings = settings_for(stub.url());
  settings.max_tokens_per_hour = 150;  // a pair costs 100
  TempFolder folder("judge");
  ASSERT_TRUE(write_atomic(folder.path() / "token", "secret\n").has_value());
  settings.token_file = (folder.path() / "token").string();
  auto judge = Judge::create(settings, clock);
  ASSERT_TRUE(judge.has_value());
  EXPECT_TRUE((*judge)->judge(kMessages, "bad", "good", "").has_value());
  EXPECT_EQ(stub.authorization_, "Bearer secret");
  EXPECT_TRUE((*judge)->judge(kMessages, "bad", "good", "").has_value());
  const auto refused = (*judge)->judge(kMessages, "bad", "good", "");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("judging goes on at"));
  clock.advance_ms(3'600'000);
  EXPECT_TRUE((*judge)->judge(kMessages, "bad", "good", "").has_value());
}

TEST(Judge, ErrorsSayWhetherToTryAgain) {
  StubJudge stub;
  SystemClock clock;
  auto judge = Judge::create(settings_for(stub.url()), clock);
  stub.status = 503;
  EXPECT_EQ((*judge)->judge(kMessages, "a", "b", "").error().code, Code::kUnavailable);
  stub.status = 404;
  EXPECT_EQ((*judge)->judge(kMessages, "a", "b", "").error().code, Code::kInvalid);
  auto nobody = Judge::create(settings_for("http://127.0.0.1:9"), clock);
  EXPECT_EQ((*nobody)->judge(kMessages, "a", "b", "").error().code, Code::kUnavailable);
  EXPECT_FALSE(Judge::create({}, clock).has_value());
}

std::string score_line(const std::string& id, const std::string& champion,
                       const std::string& candidate) {
  const auto side = [](const std::string& name, const std::string& greedy) {
    return Json{{"adapter", name},
                {"greedy", greedy},
                {"match", false},
                {"mean_logprob", -1.0},
                {"tokens", 40}};
  };
  return dump_json(Json{{"id", id}, {"results", {side("a", champion), side("b", candidate)}}}) +
         "\n";
}

TEST(Annotate, VerdictsReachThePairAndAreNeverPaidTwice) {
  StubJudge stub;
  SystemClock clock;
  auto judge = Judge::create(settings_for(stub.url()), clock);
  TempFolder folder("annotate");
  const auto cache = folder.path() / "x.judge.jsonl";
  const std::vector<shadow::ScoreItem> items = {{"new:1", kMessages, "it is good"},
                                                {"new:2", kMessages, "it is good"}};
  const std::string lines =
      score_line("new:1", "bad", "a good one") + score_line("new:2", "good", "poor");
  const auto once = annotate_scores(lines, items, config::PairScore::kJudge, judge->get(), cache);
  ASSERT_TRUE(once.has_value()) << once.error().message;
  const auto scored = shadow::parse_score_output(*once);
  ASSERT_TRUE(scored.has_value());
  shadow::Plan plan;
  plan.score = config::PairScore::kJudge;
  EXPECT_EQ(shadow::pair_difference((*scored)[0], plan), 1.0);
  EXPECT_EQ(shadow::pair_difference((*scored)[1], plan), -1.0);
  const int calls = stub.calls;
  const auto again = annotate_scores(lines, items, config::PairScore::kJudge, judge->get(), cache);
  EXPECT_EQ(*again, *once);
  EXPECT_EQ(stub.calls, calls);
  EXPECT_FALSE(annotate_scores(lines, items, config::PairScore::kJudge, nullptr, cache));
  EXPECT_FALSE(annotate_scores(score_line("new:9", "a", "b"), items, config::PairScore::kChrf,
                               nullptr, cache));
}

TEST(Annotate, TextMetricsAreTheDifferenceAgainstTheKnownGoodText) {
  const std::vector<shadow::ScoreItem> items = {
      {"new:1", kMessages, "your card is on its way and will arrive on Monday"}};
  const std::string lines =
      score_line("new:1", "I do not know", "your card is on its way, it arrives on Monday");
  for (const auto score : {config::PairScore::kTokenF1, config::PairScore::kRougeL,
                           config::PairScore::kChrf, config::PairScore::kBleu}) {
    const auto out = annotate_scores(lines, items, score, nullptr, "");
    ASSERT_TRUE(out.has_value()) << out.error().message;
    const auto scored = shadow::parse_score_output(*out);
    ASSERT_TRUE(scored.has_value());
    shadow::Plan plan;
    plan.score = score;
    const auto d = shadow::pair_difference((*scored)[0], plan);
    ASSERT_TRUE(d.has_value()) << static_cast<int>(score);
    EXPECT_GT(*d, 0.3) << static_cast<int>(score);
    EXPECT_LE(*d, 1.0);
  }
}

// Ends the process whatever the test says. Never signals anything but a child of ours.
struct Child {
  pid_t pid = -1;
  explicit Child(pid_t forked) : pid(forked) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid <= 0) return;
    kill(pid, SIGTERM);
    int status = 0;
    waitpid(pid, &status, 0);
  }
};

// A language model behind the real server: it need not judge well, but it must be asked and heard.
TEST(Judge, AsksTrimtabWorkerServe) {
  const auto worker = tests::bin_dir() / "trimtab-worker";
  const auto base = tests::source_dir() / "daemon/demo/base";
  if (!std::filesystem::exists(worker) || !std::filesystem::exists(base / "model.safetensors")) {
    GTEST_SKIP() << "trimtab-worker or the shipped base is not there";
  }
  TempFolder folder("judge-serve");
  const std::string port_file = (folder.path() / "port").string();
  const std::string log = (folder.path() / "log").string();
  Child child{fork()};
  ASSERT_GE(child.pid, 0);
  if (child.pid == 0) {
    static_cast<void>(std::freopen(log.c_str(), "w", stderr));
    execl(worker.c_str(), worker.c_str(), "serve", "--base", base.c_str(), "--served-model-name",
          "tiny", "--host", "127.0.0.1", "--port", "0", "--port-file", port_file.c_str(), nullptr);
    _exit(127);
  }
  SystemClock clock;
  std::string url;
  for (const auto began = clock.mono_ms(); clock.mono_ms() - began < 60'000 && url.empty();) {
    const auto text = read_file(port_file);
    if (text && !text->empty()) url = "http://127.0.0.1:" + std::to_string(std::stoi(*text));
    clock.sleep_ms(50);
  }
  ASSERT_FALSE(url.empty()) << read_file(log).value_or("");
  auto settings = settings_for(url);
  settings.model = "tiny";
  settings.timeout_ms = 60'000;
  auto judge = Judge::create(settings, clock);
  ASSERT_TRUE(judge.has_value());
  const auto pair = (*judge)->judge(kMessages, "transfer_money", "card_arrival", "card_arrival");
  EXPECT_TRUE(pair.has_value()) << pair.error().message;
  if (pair) {
    EXPECT_GT(pair->tokens, 20) << "the server counted both questions";
    const double d = pair->d.value_or(0.0);
    EXPECT_TRUE(d == -1.0 || d == 0.0 || d == 1.0);
    std::printf("the shipped base, as a judge, said: %s\n", pair->said.c_str());
  }
}

}  // namespace
}  // namespace trimtab::daemon
