// Job files through `trimtab-worker train`: every kind of data, what is refused and how, what comes
// out.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <sstream>

#include "base/base_digest.h"
#include "base/hash.h"
#include "base/random.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

std::string byte_ids(const std::string& text, bool eos) {
  Json ids = Json::array();
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  if (eos) ids.push_back(256);
  return ids.dump();
}

class JobsTest : public TrainTest {
 protected:
  void SetUp() override {
    write_tiny_base(root_.path() / "base");
    write_text_base(root_.path() / "text_base");
  }
  std::string random_tokens(int lines, std::uint64_t seed) {
    Random random(seed);
    std::string text;
    for (int i = 0; i < lines; ++i) {
      std::vector<int> ids;
      for (int t = 0; t < 12; ++t) ids.push_back(static_cast<int>(random.below(kTinyVocab)));
      text += Json{{"input_ids", ids}, {"labels", ids}}.dump() + "\n";
    }
    return file("tokens" + std::to_string(seed) + ".jsonl", text);
  }
  // One line on stderr with `words`, the code, and nothing half-written.
  void refused(const fs::path& folder, int code, const std::string& words,
               const Environment& environment = {}) {
    const Ended ended = train(folder, environment);
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(words));
    std::istringstream lines(ended.err);
    int count = 0;  // beside the log's own lines
    for (std::string line; std::getline(lines, line);)
      count += line.find(" info trimtab-worker: ") == std::string::npos ? 1 : 0;
    EXPECT_EQ(count, 1) << ended.err;
    EXPECT_FALSE(fs::exists(folder / "out"));
    EXPECT_EQ(result(folder)["status"], "failed");
  }
};

TEST_F(JobsTest, SchemaIsPrintedAndUnknownKeysAreNamedWithTheNearest) {
  const Ended schema = run({"train", "--schema"}, root_.path());
  ASSERT_EQ(schema.code, 0) << schema.err;
  const auto json = parse_json(schema.out, 200);
  ASSERT_TRUE(json);
  EXPECT_TRUE(json->contains("properties"));
  EXPECT_TRUE((*json)["properties"].contains("search"));
  const fs::path folder = make_job("typo", "data: {tokens: x.jsonl}\noptimiser: {lr: 1}\n");
  refused(folder, 2, "did you mean 'optimizer'?");
}

TEST_F(JobsTest, TextsAndTheirTokenIdsTrainAlike) {
  base_ = "text_base";
  const std::string how = "steps: 3\nlora: {r: 2}\n";
  const auto losses = [&](const std::string& name, const std::string& data) {
    const fs::path folder = make_job(name, how + data);
    const Ended ended = train(folder);
    EXPECT_EQ(ended.code, 0) << name << ": " << ended.err;
    std::vector<double> values;
    for (const Json& line : metrics(folder)) values.push_back(line["loss"]);
    EXPECT_EQ(values.size(), 3U) << name;
    return values;
  };
  const auto data = [&](const std::string& key, const std::string& name, const std::string& text) {
    return "data: {" + key + ": " + file(name, text) + "}\n";
  };
  // Completion only: prompt masked, the end-of-sequence token taught.
  const auto prompts = losses("p", data("prompts", "p.jsonl",
                                        R"({"prompt": "ab", "completion": "cd"})"
                                        "\n"));
  const auto ids =
      losses("t", data("tokens", "t.jsonl",
                       R"({"input_ids": [97,98,99,100,256], "labels": [-100,-100,99,100,256]})"
                       "\n"));
  EXPECT_EQ(prompts, ids);
  // Whole: the prompt counts, too.
  const auto whole = losses("w", data("prompts", "p.jsonl",
                                      R"({"prompt": "ab", "completion": "cd"})"
                                      "\n") +
                                     "loss: {supervise: whole}\n");
  const auto all = losses("a", data("tokens", "a.jsonl",
                                    R"({"input_ids": [97,98,99,100,256],)"
                                    R"( "labels": [97,98,99,100,256]})"
                                    "\n"));
  EXPECT_EQ(whole, all);
  EXPECT_NE(whole, prompts);
  // Raw text: all of it, from a text file and from lines.
  EXPECT_EQ(losses("r", data("text", "r.txt", "abcd\n")), all);
  EXPECT_EQ(losses("j", data("text", "r.jsonl",
                             R"({"text": "abcd"})"
                             "\n")),
            all);
  // Chat through the template: <user>ab<bot> cd <eos>.
  const auto chat = losses("c", data("chat", "c.jsonl",
                                     R"({"messages": [{"role": "user", "content": "ab"},)"
                                     R"( {"role": "assistant", "content": "cd"}]})"
                                     "\n"));
  const auto chat_ids = losses("ci", data("tokens", "ci.jsonl",
                                          R"({"input_ids": [257,97,98,258,99,100,256],)"
                                          R"( "labels": [-100,-100,-100,-100,99,100,256]})"
                                          "\n"));
  EXPECT_EQ(chat, chat_ids);
}

TEST_F(JobsTest, PairsAndThumbsTakeTextsMessagesAndIds) {
  base_ = "text_base";
  const auto losses = [&](const std::string& name, const std::string& more) {
    const fs::path folder = make_job(name, "steps: 3\nlora: {r: 2}\n" + more);
    const Ended ended = train(folder);
    EXPECT_EQ(ended.code, 0) << name << ": " << ended.err;
    std::vector<double> values;
    for (const Json& line : metrics(folder)) values.push_back(line["loss"]);
    return values;
  };
  const std::string texts = file("pt.jsonl", R"({"prompt": "ab", "chosen": "cd", "rejected": "xy"})"
                                             "\n");
  const std::string ids = file("pi.jsonl", R"({"prompt": )" + byte_ids("ab", false) +
                                               R"(, "chosen": )" + byte_ids("cd", true) +
                                               R"(, "rejected": )" + byte_ids("xy", true) + "}\n");
  const std::string messages =
      file("pm.jsonl", R"({"prompt": [{"role": "user", "content": "ab"}],)"
                       R"( "chosen": [{"role": "assistant", "content": "cd"}], "rejected": "xy"})"
                       "\n");
  for (const std::string loss : {"dpo", "orpo"}) {
    const std::string how = "loss: {name: " + loss + "}\noptimizer: {lr: 0.01}\n";
    const auto first = losses(loss + "t", how + "data: {pairs: " + texts + "}\n");
    EXPECT_EQ(first, losses(loss + "i", how + "data: {pairs: " + ids + "}\n"));
    EXPECT_NE(first, losses(loss + "m", how + "data: {pairs: " + messages + "}\n"));
    ASSERT_EQ(first.size(), 3U);
    EXPECT_LT(first[2], first[0]) << loss;
  }
  // At the start policy and reference agree: -log sigma(0).
  const auto dpo = losses("dpo0", "loss: {name: dpo}\ndata: {pairs: " + texts + "}\n");
  EXPECT_NEAR(dpo[0], std::log(2.0), 1e-6);
  const std::string thumbs =
      file("th.jsonl", R"({"prompt": "ab", "completion": "cd", "good": true})"
                       "\n"
                       R"({"prompt": "ab", "completion": "xy", "good": false})"
                       "\n");
  const auto apo = losses("apo", "loss: {name: apo_zero_unpaired}\ndata: {thumbs: " + thumbs +
                                     "}\noptimizer: {lr: 0.01}\n");
  EXPECT_NEAR(apo[0], 0.5, 1e-6);
  EXPECT_LT(apo[2], 0.5);
}

TEST_F(JobsTest, RunsThatCannotBeAreNamed) {
  const std::string tokens = random_tokens(20, 1);
  refused(make_job("base", "base_sha256: " + std::string(64, '0') + "\ndata: {tokens: " + tokens +
                               "}\nsteps: 2\n"),
          3, "wrong_base");
  refused(make_job("rank", "lora: {r: 0}\ndata: {tokens: " + tokens + "}\nsteps: 2\n"), 2,
          "lora.r");
  refused(make_job("layer",
                   "lora: {layers_to_transform: [7]}\ndata: {tokens: " + tokens + "}\nsteps: 2\n"),
          2, "layer 7");
  const std::string far = file("far.jsonl", R"({"input_ids":[1,40],"labels":[1,40]})"
                                            "\n");
  refused(make_job("far", "data: {tokens: " + far + "}\nsteps: 2\n"), 2,
          "far.jsonl:1: token id 40 in 'input_ids' is outside the vocabulary of 40");
  Json long_ids = Json::array();
  for (int i = 0; i < 200; ++i) long_ids.push_back(1);
  const std::string wide =
      file("wide.jsonl", Json{{"input_ids", long_ids}, {"labels", long_ids}}.dump() + "\n");
  refused(make_job("wide", "data: {tokens: " + wide + "}\nsteps: 2\n"), 2,
          "wide.jsonl:1: 200 tokens are more than the context of 128");
  refused(make_job("none", "data: {tokens: " + file("none.jsonl", "") + "}\nsteps: 2\n"), 3,
          "no_data");
  refused(make_job("masked", "data: {tokens: " +
                                 file("masked.jsonl", R"({"input_ids":[1,2],"labels":[1,-100]})"
                                                      "\n") +
                                 "}\nsteps: 2\n"),
          3, "no_data");
  refused(make_job("gone",
                   "data: {tokens: " + (root_.path() / "gone.jsonl").string() + "}\nsteps: 2\n"),
          2, "gone.jsonl");
  refused(make_job("memory", "memory_limit_bytes: 30000000\ndata: {tokens: " + tokens +
                                 "}\nsteps: 2\nlora: {r: 2000}\n"),
          3, "out_of_memory");
}

// Both were obeyed as far as they went, silently.
TEST_F(JobsTest, APlanOrAGradientStepBeyondTheStepsIsRefused) {
  const std::string data = "data: {tokens: " + random_tokens(20, 6) + "}\nsteps: 2\n";
  const std::string plan = "plan: " + file("plan.json", "[[[0, 1]]]") + "\n";
  refused(make_job("short", data + plan), 2, "plan.json: has 1 of 2 steps");
  refused(make_job("beyond", data + "save_grads_at_step: 9\n"), 2,
          "save_grads_at_step: 9 is beyond the last step; the job has 2");
  const fs::path last = make_job("last", data + "save_grads_at_step: 2\n");
  EXPECT_EQ(train(last).code, 0) << read_file(last / "stderr").value_or("");
  EXPECT_TRUE(fs::exists(last / "out" / "grads_step2.safetensors"));
}

// A base whose last norm leaves the range of floats: named, with the step, and nothing exported.
TEST_F(JobsTest, AnExplodingRunIsNanLoss) {
  const fs::path model = root_.path() / "base" / "model.safetensors";
  std::string bytes = read_file(model).value();  // model.norm.weight [32] lies last
  const float huge = 3e38F;
  for (std::size_t i = 0; i < 32; ++i)
    std::memcpy(bytes.data() + bytes.size() - 128 + 4 * i, &huge, sizeof(huge));
  ASSERT_TRUE(write_atomic(model, bytes));
  const fs::path folder =
      make_job("exploding", "data: {tokens: " + random_tokens(20, 2) + "}\nsteps: 5\n");
  refused(folder, 3, "nan_loss");
  EXPECT_EQ(result(folder)["reason"], "nan_loss");
}

TEST_F(JobsTest, NanInTheBaseNamesFileAndTensor) {
  const fs::path model = root_.path() / "base" / "model.safetensors";
  std::string bytes = read_file(model).value();
  for (int i = 0; i < 4; ++i) bytes[bytes.size() - 8 + static_cast<std::size_t>(i)] = '\xff';
  ASSERT_TRUE(write_atomic(model, bytes));
  refused(make_job("nan", "data: {tokens: " + random_tokens(20, 3) + "}\nsteps: 2\n"), 2, "NaN");
}

// The file size limit stands for a full disk: the same errors come out of write().
TEST_F(JobsTest, AFullDiskIsNamed) {
  const fs::path folder = make_job("full", "data: {tokens: " + random_tokens(20, 4) +
                                               "}\nsteps: 40\ncheckpoint_every_steps: 1\n");
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{16 << 10, old.rlim_max};
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;  // inherited by the worker: write() answers EFBIG instead
  ASSERT_EQ(sigaction(SIGXFSZ, &ignore, &before), 0);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const pid_t pid = start({"train", (folder / "job.yaml").string()}, folder);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_EQ(sigaction(SIGXFSZ, &before, nullptr), 0);
  const Ended ended = finish(pid, folder);
  EXPECT_EQ(ended.code, 3) << ended.err;
  EXPECT_EQ(result(folder)["reason"], "disk_full") << ended.err;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(JobsTest, AnAdapterForAnotherBaseIsRefused) {
  base_ = "text_base";
  const fs::path first =
      make_job("first", "data: {tokens: " +
                            file("t.jsonl", R"({"input_ids":[1,2,3],"labels":[1,2,3]})"
                                            "\n") +
                            "}\nsteps: 1\nlora: {r: 2}\n");
  ASSERT_EQ(train(first).code, 0);
  // adapter_config.json asks for another shape than the file has.
  const fs::path folder = make_job(
      "second", "init_adapter: " + (first / "out").string() +
                    "\ndata: {tokens: " + (root_.path() / "t.jsonl").string() + "}\nsteps: 1\n");
  const std::string config = read_file(first / "out" / "adapter_config.json").value();
  std::string wrong = config;
  wrong.replace(wrong.find("\"r\": 2"), 6, "\"r\": 3");
  ASSERT_TRUE(write_atomic(first / "out" / "adapter_config.json", wrong));
  refused(folder, 2, "adapter_model.safetensors");
}

TEST_F(JobsTest, ManifestAndAdapterAreTheSameOnRerun) {
  base_ = "text_base";
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    lines += Json{{"id", std::to_string(i)},
                  {"kind", i % 2 == 0 ? "replay" : "correction"},
                  {"messages",
                   {{{"role", "user"}, {"content", "question number " + std::to_string(i)}},
                    {{"role", "assistant"}, {"content", i == 7 ? "\x01\x02\x7f\x03" : "yes"}}}}}
                 .dump() +
             "\n";
  }
  const std::string chat = file("chat.jsonl", lines);
  const std::string how =
      "data: {chat: " + chat +
      ", replay_share: 0.25}\nsteps: 4\nlora: {r: 2}\n"
      "filters: {outlier_z: 4, typos: 0.5, typo_rate: 0.4}\ncurriculum: {order: easy_first}\n";
  const fs::path one = make_job("one", how), two = make_job("two", how);
  ASSERT_EQ(train(one).code, 0) << read_file(one / "stderr").value_or("");
  ASSERT_EQ(train(two).code, 0);
  EXPECT_EQ(adapter(one), adapter(two));
  const std::string manifest = read_file(one / "out" / "data_manifest.json").value_or("");
  EXPECT_EQ(manifest, read_file(two / "out" / "data_manifest.json").value_or("-"));
  const auto json = parse_json(manifest);
  ASSERT_TRUE(json);
  EXPECT_EQ((*json)["added"]["typos"], 10);
  EXPECT_EQ((*json)["left_out"]["replay_share"], 10);  // 30 new lines want 10 of 20
  EXPECT_EQ((*json)["files"]["chat"]["sha256"], sha256_hex(lines));
  EXPECT_TRUE(fs::exists(one / "out" / "folded" / "adapter_model.safetensors"));
}

TEST_F(JobsTest, FrozenLayersStayAsTheyWere) {
  const std::string tokens = "data: {tokens: " + random_tokens(20, 5) + "}\nsteps: 5\n";
  const fs::path first = make_job("first", tokens + "lora: {r: 2}\n");
  ASSERT_EQ(train(first).code, 0);
  const fs::path second = make_job(
      "second", tokens + "init_adapter: " + (first / "out").string() +
                    "\nlora: {freeze_first: 1}\noptimizer: {lr: 0.01, weight_decay: 0.1}\n");
  ASSERT_EQ(train(second).code, 0) << read_file(second / "stderr").value_or("");
  const auto before = read_tensors(first / "out" / "adapter_model.safetensors");
  const auto after = read_tensors(second / "out" / "adapter_model.safetensors");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, bytes] : before) {
    const bool frozen = name.find("layers.0.") != std::string::npos;
    EXPECT_EQ(bytes == after.at(name), frozen) << name;
  }
  const fs::path fresh = make_job("fresh", tokens + "lora: {r: 2, freeze_first: 1}\n");
  ASSERT_EQ(train(fresh).code, 0);
  for (const auto& [name, bytes] : read_tensors(fresh / "out" / "adapter_model.safetensors"))
    EXPECT_THAT(name, HasSubstr("layers.1."));
}

}  // namespace
}  // namespace trimtab::tests
