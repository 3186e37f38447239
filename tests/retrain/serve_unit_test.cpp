// Parts of the model server that need no model: sampling, stop texts, OpenAI's JSON.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "retrain/serve/generation.h"
#include "retrain/serve/openai.h"
#include "retrain/serve/sampler.h"

namespace trimtab::serve {
namespace {

const std::vector<float> kLogits = {std::log(0.1F), std::log(0.6F), std::log(0.25F),
                                    std::log(0.05F)};

std::vector<int> draw(const Sampling& sampling, int n) {
  Random random(11);
  std::vector<int> counts(kLogits.size());
  for (int i = 0; i < n; ++i)
    ++counts[static_cast<std::size_t>(choose(kLogits, sampling, random).id)];
  return counts;
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Random random(1);
  EXPECT_EQ(choose(std::vector<float>{1, 3, 3, 2}, {.temperature = 0}, random).id, 1);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const auto counts = draw({.temperature = 1}, 20'000);  // seed 11
  EXPECT_NEAR(counts[0], 2'000, 200);
  EXPECT_NEAR(counts[1], 12'000, 300);
  EXPECT_NEAR(counts[2], 5'000, 300);
  EXPECT_NEAR(counts[3], 1'000, 150);
}

TEST(Sampler, TopPAndTopKCut) {
  const auto nucleus = draw({.temperature = 1, .top_p = 0.7}, 5'000);
  EXPECT_EQ(nucleus[0] + nucleus[3], 0) << "0.6 and 0.25 reach 0.7";
  EXPECT_GT(nucleus[2], 0);
  const auto one = draw({.temperature = 2, .top_k = 1}, 100);
  EXPECT_EQ(one[1], 100);
}

TEST(Sampler, SameSeedSameDraws) { EXPECT_EQ(draw({}, 50), draw({}, 50)); }

TEST(Sampler, LogprobsAreOfTheRawLogits) {
  Random random(1);
  const auto chosen =
      choose(kLogits, {.temperature = 0, .logprobs = true, .top_logprobs = 2}, random);
  EXPECT_NEAR(chosen.logprob, std::log(0.6), 1e-6);
  ASSERT_EQ(chosen.top.size(), 2U);
  EXPECT_EQ(chosen.top[1].first, 2);
  EXPECT_NEAR(chosen.top[1].second, std::log(0.25), 1e-6);
}

TEST(StopMatcher, CutsAtTheFirstStopAcrossPieces) {
  StopMatcher matcher({"END", "\n\n"});
  bool stopped = false;
  EXPECT_EQ(matcher.push("hello E", stopped), "hello ");
  EXPECT_FALSE(stopped);
  EXPECT_EQ(matcher.push("N", stopped), "");
  EXPECT_EQ(matcher.push("x\n", stopped), "ENx");
  EXPECT_EQ(matcher.push("\nmore", stopped), "");
  EXPECT_TRUE(stopped);
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, WhatIsHeldComesAtTheEnd) {
  StopMatcher matcher({"STOP"});
  bool stopped = false;
  EXPECT_EQ(matcher.push("a STO", stopped), "a ");
  EXPECT_EQ(matcher.finish(), "STO");
}

TEST(Generation, WaitersGetTheEnd) {
  Generation generation({.prompt = {1}});
  EXPECT_EQ(generation.take(0, true).finish, Finish::kNone);
  generation.add("a", std::nullopt);
  EXPECT_EQ(generation.take(0, false).text, "a");
  generation.add("b", std::nullopt);
  generation.finish(Finish::kStop);
  const Progress end = generation.take(0, true);
  EXPECT_EQ(end.text, "b");
  EXPECT_EQ(end.finish, Finish::kStop);
}

TEST(OpenAi, ReadsAChat) {
  const auto request = parse_chat(
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},
          {"type":"text","text":"b"}]}],"max_completion_tokens":5,"temperature":0,"top_p":0.5,
          "seed":3,"stop":"x","logprobs":true,"top_logprobs":2,"stream":true,
          "stream_options":{"include_usage":true},
          "chat_template_kwargs":{"enable_thinking":false}})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->messages_json, R"([{"role":"user","content":"a\nb"}])");
  EXPECT_EQ(request->max_tokens, 5);
  EXPECT_EQ(request->generation.seed, 3U);
  EXPECT_EQ(request->generation.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request->generation.sampling.top_logprobs, 2);
  EXPECT_TRUE(request->include_usage);
  EXPECT_EQ(request->template_json, R"({"enable_thinking":false,"add_generation_prompt":true})");
}

TEST(OpenAi, BadRequestsNameTheKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"messages":[{"role":"user","content":"a"}]})", "model"},
      {R"({"model":"m"})", "messages"},
      {R"({"model":"m","messages":[]})", "messages"},
      {R"({"model":"m","messages":["x"]})", "messages"},
      {R"({"model":"m","messages":[{"role":"user","content":5}]})", "messages"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"temperature":-1})",
       "temperature"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"temperature":"hot"})",
       "temperature"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":0})", "max_tokens"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":9999999999})",
       "max_tokens"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"n":2})", "n"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"f"}]})",
       "tools"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"logit_bias":{"1":5}})",
       "logit_bias"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"top_logprobs":2})",
       "top_logprobs"},
      {R"({"model":"m","messages":[{"role":"user","content":"a"}],"stop":[1]})", "stop"},
      {"[1]", "object"},
      {"{", "JSON"}};
  for (const auto& [body, key] : cases) {
    const auto request = parse_chat(body);
    ASSERT_FALSE(request) << body;
    EXPECT_NE(request.error().message.find(key), std::string::npos) << request.error().message;
  }
}

TEST(OpenAi, PromptsInAllFourForms) {
  const auto of = [](const std::string& prompt) {
    return parse_completion(R"({"model":"m","prompt":)" + prompt + "}");
  };
  EXPECT_EQ(of(R"("a")")->prompts.size(), 1U);
  EXPECT_EQ(of(R"(["a","b"])")->prompts.size(), 2U);
  EXPECT_EQ(of("[1,2]")->prompt_ids.size(), 1U);
  EXPECT_EQ(of("[[1],[2,3]]")->prompt_ids.size(), 2U);
  EXPECT_EQ(of(R"("a")")->max_tokens, 16);
  for (const auto* bad : {"3", "[]", R"(["a",[1]])", "[[]]", "{}"}) EXPECT_FALSE(of(bad)) << bad;
}

TEST(OpenAi, AnswersHaveTheShapeClientsRead) {
  const AnswerHead head{.id = "x", .created_s = 1, .model = "m", .chat = true, .logprobs = true};
  const Choice choice{"hi", {{"hi", -0.5, {{"hi", -0.5}}}}, Finish::kLength};
  const Json chat = Json::parse(answer_json(head, {choice}, {3, 1}));
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "hi");
  EXPECT_EQ(chat["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"][0]["bytes"], Json({104, 105}));
  EXPECT_EQ(chat["usage"]["total_tokens"], 4);
  const AnswerHead plain{.id = "x", .created_s = 1, .model = "m", .chat = false, .logprobs = true};
  const Json text = Json::parse(answer_json(plain, {choice, choice}, {3, 2}));
  EXPECT_EQ(text["choices"][1]["text"], "hi");
  EXPECT_EQ(text["choices"][0]["logprobs"]["tokens"][0], "hi");
  EXPECT_EQ(Json::parse(role_chunk(head))["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(Json::parse(finish_chunk(head, 0, Finish::kStop))["choices"][0]["finish_reason"],
            "stop");
}

}  // namespace
}  // namespace trimtab::serve
