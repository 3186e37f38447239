// The model server in-process, on a golden model of ../shared with a tokenizer trained here.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/net/client.h"
#include "retrain/model/bpe_trainer.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lora.h"
#include "retrain/serve/model_server.h"
#include "retrain/serve/pair_score.h"
#include "tests/paths.h"

namespace trimtab::serve {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = tests::shared_dir() / "vectors/lora";

// A base folder: golden weights (vocabulary 320), a byte-level tokenizer of the same size, ChatML.
void make_base(const fs::path& folder) {
  for (const char* name : {"config.json", "model.safetensors"}) {
    ASSERT_TRUE(
        write_atomic(folder / name, read_file(kGoldens / "models/llama_tied" / name).value()));
  }
  const std::vector<std::string> texts = {"the card and the bank and the card"};
  const auto tokenizer = model::train_bpe(texts, {.vocab_size = 320}).value();
  ASSERT_TRUE(write_atomic(folder / "tokenizer.json", tokenizer));
  ASSERT_TRUE(write_atomic(folder / "tokenizer_config.json",
                           read_file(kGoldens / "chat/chatml/tokenizer_config.json").value()));
}

class ModelServerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kGoldens)) GTEST_SKIP() << "../shared is absent";
    make_base(folder_.path());
    start({});
  }
  void start(ModelServerOptions options) {
    options.base = folder_.path();
    options.served_model_name = "tiny";
    options.port = 0;
    options.adapters = {{"one", (kGoldens / "train/llama/final").string()}};
    auto made = ModelServer::create(options, clock_);
    ASSERT_TRUE(made) << made.error().message;
    server_ = std::move(*made);
    ASSERT_TRUE(server_->start());
    url_ = "http://127.0.0.1:" + std::to_string(server_->port());
  }

  net::Response post(const std::string& path, const Json& body) {
    net::ClientRequest request;
    request.method = "POST";
    request.url = url_ + path;
    request.headers.set("Content-Type", "application/json");
    request.body = dump_json(body);
    return client_.send(request).value();
  }
  Json get(const std::string& path) { return Json::parse(client_.get(url_ + path).value().body); }
  Json chat(const std::string& model, int tokens = 8) {
    const auto answer = post("/v1/chat/completions", chat_body(model, tokens));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return Json::parse(answer.body);
  }
  static Json chat_body(const std::string& model, int tokens) {
    return {{"model", model},
            {"messages", Json::array({{{"role", "user"}, {"content", "where is my card"}}})},
            {"max_tokens", tokens},
            {"temperature", 0},
            {"ignore_eos", true}};
  }
  static std::string text_of(const Json& answer) {
    return answer["choices"][0]["message"]["content"];
  }

  TempFolder folder_{"serve"};
  SystemClock clock_;
  net::Client client_{{}, clock_};
  std::unique_ptr<ModelServer> server_;
  std::string url_;
};

TEST_F(ModelServerTest, AnswersAndNamesWhatItServed) {
  const Json base = chat("tiny"), adapter = chat("one");
  EXPECT_EQ(base["model"], "tiny");
  EXPECT_EQ(adapter["model"], "one");
  EXPECT_EQ(base["usage"]["completion_tokens"], 8);
  EXPECT_EQ(base["choices"][0]["finish_reason"], "length");
  EXPECT_NE(text_of(base), text_of(adapter)) << "the adapter changes the answer";
  EXPECT_EQ(text_of(base), text_of(chat("tiny"))) << "greedy answers repeat";
  const auto unknown = post("/v1/chat/completions", chat_body("nobody", 4));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(
      post("/v1/completions", {{"model", "tiny"}, {"prompt", "x"}, {"max_tokens", 5000}}).status,
      400);
}

TEST_F(ModelServerTest, StreamedPiecesEqualTheWholeAnswer) {
  Json body = chat_body("one", 12);
  const std::string whole = text_of(Json::parse(post("/v1/chat/completions", body).body));
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto answer = post("/v1/chat/completions", body);
  EXPECT_EQ(answer.headers.get("Content-Type"), "text/event-stream");
  std::string text;
  bool done = false, usage = false;
  for (std::size_t at = answer.body.find("data: "); at != std::string::npos;
       at = answer.body.find("data: ", at + 1)) {
    const std::string data = answer.body.substr(at + 6, answer.body.find('\n', at) - at - 6);
    if (data == "[DONE]") {
      done = true;
      continue;
    }
    const Json chunk = Json::parse(data);
    if (chunk.contains("usage")) usage = chunk["usage"]["completion_tokens"] == 12;
    if (!chunk["choices"].empty()) text += chunk["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, whole);
  EXPECT_TRUE(done);
  EXPECT_TRUE(usage);
}

TEST_F(ModelServerTest, AdaptersComeAndGoAsInVllm) {
  const std::string root = (kGoldens / "train/llama/initial").string();
  const auto loaded = post("/v1/load_lora_adapter", {{"lora_name", "two"}, {"lora_path", root}});
  EXPECT_EQ(loaded.status, 200) << loaded.body;
  EXPECT_EQ(loaded.body, "Success: LoRA adapter 'two' added successfully.");
  const Json models = get("/v1/models");
  ASSERT_EQ(models["data"].size(), 3U);
  EXPECT_EQ(models["data"][0]["parent"], nullptr);
  EXPECT_EQ(models["data"][2]["id"], "two");
  EXPECT_EQ(models["data"][2]["root"], root);
  EXPECT_EQ(models["data"][2]["parent"], "tiny");
  EXPECT_EQ(models["data"][2]["sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(post("/v1/load_lora_adapter", {{"lora_name", "two"}, {"lora_path", root}}).status, 400);
  EXPECT_EQ(post("/v1/load_lora_adapter", {{"lora_name", "x"}, {"lora_path", "/absent"}}).status,
            404);
  EXPECT_EQ(post("/v1/load_lora_adapter", {{"lora_name", "x"}}).status, 400);
  const auto wrong =
      post("/v1/load_lora_adapter",
           {{"lora_name", "x"}, {"lora_path", (kGoldens / "forward/gpt2/adapter").string()}});
  EXPECT_EQ(wrong.status, 400) << wrong.body;
  const auto stale = post("/v1/unload_lora_adapter", {{"lora_name", "two"}, {"generation", 1}});
  EXPECT_EQ(stale.status, 409) << stale.body;
  EXPECT_EQ(post("/v1/unload_lora_adapter", {{"lora_name", "two"}}).status, 200);
  EXPECT_EQ(post("/v1/unload_lora_adapter", {{"lora_name", "two"}}).status, 404);
  EXPECT_EQ(post("/v1/chat/completions", chat_body("two", 4)).status, 404);
}

TEST_F(ModelServerTest, MixedBatchesAnswerAsAloneWhileAdaptersComeAndGo) {
  const std::string base = text_of(chat("tiny")), one = text_of(chat("one"));
  std::atomic<int> wrong = 0, failed = 0;
  std::vector<std::jthread> clients;
  for (int c = 0; c < 6; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 12; ++i) {
        const bool adapted = (i + c) % 2 == 0;
        const auto answer = post("/v1/chat/completions", chat_body(adapted ? "one" : "tiny", 8));
        if (answer.status != 200)
          ++failed;
        else if (text_of(Json::parse(answer.body)) != (adapted ? one : base))
          ++wrong;
      }
    });
  }
  for (int i = 0; i < 10; ++i) {
    const std::string root = (kGoldens / "train/llama/initial").string();
    EXPECT_EQ(post("/v1/load_lora_adapter", {{"lora_name", "t"}, {"lora_path", root}}).status, 200);
    EXPECT_EQ(post("/v1/unload_lora_adapter", {{"lora_name", "t"}}).status, 200);
  }
  clients.clear();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(wrong, 0);
}

TEST_F(ModelServerTest, LogprobsStopTextsAndHealth) {
  Json body = {{"model", "tiny"},  {"prompt", "the card"}, {"max_tokens", 10},
               {"temperature", 0}, {"logprobs", 2},        {"ignore_eos", true}};
  const Json full = Json::parse(post("/v1/completions", body).body);
  const std::string text = full["choices"][0]["text"];
  EXPECT_EQ(full["choices"][0]["logprobs"]["tokens"].size(), 10U);
  for (const auto& logprob : full["choices"][0]["logprobs"]["token_logprobs"])
    EXPECT_LE(logprob, 0.0);
  // A whole character of the answer: random weights also give bytes that are no text.
  const auto at = text.find_first_of("abcdefghijklmnopqrstuvwxyz ", 1);
  const std::string stop = at == std::string::npos ? "\uFFFD" : text.substr(at, 1);
  body["stop"] = stop;
  const Json cut = Json::parse(post("/v1/completions", body).body);
  EXPECT_EQ(cut["choices"][0]["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(client_.get(url_ + "/health").value().status, 200);
  const std::string metrics = client_.get(url_ + "/metrics").value().body;
  EXPECT_NE(metrics.find("trimtab_serve_requests_total{model=\"tiny\",outcome=\"ok\"}"),
            std::string::npos);
}

TEST_F(ModelServerTest, AFullQueueAnswers429AndAGoneClientFreesItsPlace) {
  server_.reset();
  start({.max_batch = 1, .queue = 1});
  std::atomic<int> ok = 0, busy = 0, other = 0;
  {
    std::vector<std::jthread> clients;
    for (int c = 0; c < 12; ++c) {
      clients.emplace_back([&] {
        const int status = post("/v1/chat/completions", chat_body("tiny", 80)).status;
        ++(status == 200 ? ok : status == 429 ? busy : other);
      });
    }
  }
  EXPECT_GE(ok, 1);
  EXPECT_GE(busy, 1);
  EXPECT_EQ(other, 0);
}

TEST(PairScore, EqualsScoringAloneAndRanksBehindASharedPrefix) {
  if (!fs::exists(kGoldens)) GTEST_SKIP() << "../shared is absent";
  TempFolder folder("score");
  make_base(folder.path());
  const auto decoder = model::Decoder::load(folder.path()).value();
  const auto tokenizer = model::Tokenizer::load(folder.path()).value();
  const auto adapter = model::load_adapter(kGoldens / "train/llama/final", *decoder).value();
  std::vector<ScoreItem> items;
  for (int i = 0; i < 5; ++i) {
    ScoreItem item;
    item.id = std::to_string(i);
    item.text = i % 2 == 0 ? " the card" : " bank and";
    item.prompt = tokenizer.encode("where is " + std::to_string(i * 37), false).value();
    item.target = tokenizer.encode(item.text, false).value();
    items.push_back(item);
  }
  const auto both =
      PairScorer(decoder, tokenizer, {2}, {nullptr, adapter.get()}, {}).score(items).value();
  for (std::size_t side = 0; side < 2; ++side) {
    const model::Adapter* alone = side == 0 ? nullptr : adapter.get();
    const auto single =
        PairScorer(decoder, tokenizer, {2}, {alone}, {.batch = 1}).score(items).value();
    for (std::size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(both[i][side].greedy, single[i][0].greedy);
      EXPECT_NEAR(both[i][side].mean_logprob, single[i][0].mean_logprob, 1e-4);
    }
  }
  // The greedy answer given as the known-good text must match, found without generating.
  ScoreItem own = items[0];
  own.text = both[0][1].greedy;
  own.target = tokenizer.encode(own.text, false).value();
  const auto again =
      PairScorer(decoder, tokenizer, {2}, {adapter.get()}, {}).score(std::vector{own}).value();
  EXPECT_EQ(again[0][0].match, again[0][0].greedy == own.text);
  std::vector<model::TokenIds> labels;
  for (const auto& item : items) labels.push_back(item.target);
  const auto ranked = label_logprobs(*decoder, adapter.get(), items[0].prompt, labels).value();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ScoreItem one = items[0];
    one.target = labels[i];
    const auto alone =
        PairScorer(decoder, tokenizer, {2}, {adapter.get()}, {}).score(std::vector{one}).value();
    EXPECT_NEAR(ranked[i], alone[0][0].mean_logprob * static_cast<double>(labels[i].size()), 1e-4);
  }
}

// Batches whose texts begin alike are computed as a tree; one text is another's beginning, one is
// there twice, and greedy answers go on from the tree's keys and values.
TEST(PairScore, SharedBeginningsAndLanesChangeNothing) {
  if (!fs::exists(kGoldens)) GTEST_SKIP() << "../shared is absent";
  TempFolder folder("score-shared");
  make_base(folder.path());
  const auto decoder = model::Decoder::load(folder.path()).value();
  const auto tokenizer = model::Tokenizer::load(folder.path()).value();
  const auto adapter = model::load_adapter(kGoldens / "train/llama/final", *decoder).value();
  const std::string prompt = "please tell me now where the bank and the card of my account is";
  std::vector<ScoreItem> items;
  for (const char* text : {" the card", " the card and the bank", " the card", " where", " bank"}) {
    ScoreItem item;
    item.id = std::to_string(items.size());
    item.text = text;
    item.prompt =
        tokenizer.encode(prompt + (*text == ' ' && text[1] == 'b' ? " now" : ""), false).value();
    item.target = tokenizer.encode(item.text, false).value();
    ASSERT_GE(item.prompt.size(), 8U) << "too short to be shared";
    items.push_back(item);
  }
  const std::vector<const model::Adapter*> sides = {nullptr, adapter.get()};
  const ScoreSettings base{.max_new_tokens = 6};
  ScoreSettings alone = base, lanes = base, likelihood = base;
  alone.batch = 1;
  lanes.batch = 2, lanes.lanes = 2;
  likelihood.likelihood_only = true;
  const auto score = [&](const ScoreSettings& settings) {
    return PairScorer(decoder, tokenizer, {2}, sides, settings).score(items).value();
  };
  const auto expected = score(alone);
  for (const ScoreSettings& settings : {base, lanes, likelihood}) {
    const auto got = score(settings);
    for (std::size_t i = 0; i < items.size(); ++i) {
      for (std::size_t side = 0; side < sides.size(); ++side) {
        EXPECT_NEAR(got[i][side].mean_logprob, expected[i][side].mean_logprob, 1e-4);
        if (settings.likelihood_only) continue;
        EXPECT_EQ(got[i][side].greedy, expected[i][side].greedy);
        EXPECT_EQ(got[i][side].match, expected[i][side].match);
      }
    }
  }
}

}  // namespace
}  // namespace trimtab::serve
