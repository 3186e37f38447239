// The documents of a job folder: what is written is read back, what is wrong is named.
#include "retrain/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"

namespace trimtab::retrain {
namespace {

using testing::HasSubstr;

JobSpec full_job() {
  JobSpec job;
  job.id = "job-12";
  job.target = "support-bot";
  job.base = "/models/base: with \"odd\" #name";
  job.out = "/state/jobs/job-12/out";
  job.data.chat = "/state/jobs/job-12/data/train.jsonl";
  job.lora.target_modules = {"q_proj", "v_proj"};
  job.lora.rank_pattern = {{"layers.1.*", 8}, {"layers.0.*", 4}};
  job.optimizer.lr = 3e-3;
  job.kl = {.weight = 0.4, .on = "replay", .reference = "base"};
  job.memory_limit_bytes = 4LL << 30;
  job.provenance = {{"alarm", "al-7"}, {"note", "line\nbreak: {x}"}};
  return job;
}

TEST(Job, WrittenYamlReadsBack) {
  const std::string text = job_yaml(full_job());
  const auto job = parse_job(text, "job.yaml");
  ASSERT_TRUE(job) << job.error().message << "\n" << text;
  EXPECT_EQ(job_yaml(*job), text);
  EXPECT_EQ(job->base, full_job().base);
  EXPECT_EQ(job->provenance.at("note"), "line\nbreak: {x}");
  ASSERT_EQ(job->lora.rank_pattern.size(), 2U);
  EXPECT_EQ(job->lora.rank_pattern[0],
            (std::pair<std::string, double>{"layers.1.*", 8}));  // the file's order
  EXPECT_EQ(job->lora.rank_pattern[1], (std::pair<std::string, double>{"layers.0.*", 4}));
  EXPECT_DOUBLE_EQ(job->optimizer.lr, 3e-3);
}

// The golden runs write their jobs as JSON, with every key of COMMANDS.md.
TEST(Job, GoldenRunsJsonIsYaml) {
  const auto job = parse_job(
      R"({"base": "/m", "out": "/o", "dtype": "float32", "data": {"tokens": "/d.jsonl"},
          "lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0, "target_modules": "all-linear",
                   "use_rslora": false, "use_dora": false, "rank_pattern": {}, "alpha_pattern": {}},
          "init_adapter": "/i", "plan": "/p.json", "steps": 30, "save_grads_at_step": 1,
          "loss": {"name": "sft"},
          "optimizer": {"name": "adamw", "lr": 0.002, "betas": [0.9, 0.999], "eps": 1e-08,
                        "weight_decay": 0.0, "clip_norm": 1.0},
          "schedule": {"name": "cosine", "warmup_steps": 3}})",
      "job.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->steps, 30);
  EXPECT_EQ(job->lora.r, 4);
  EXPECT_EQ(job->lora.target_modules, std::vector<std::string>{"all-linear"});
  EXPECT_DOUBLE_EQ(job->optimizer.eps, 1e-8);
  EXPECT_EQ(job->schedule.warmup_steps, 3);
}

TEST(Job, PathsStartAtTheJobsFolder) {
  const auto job =
      parse_job("base: b\nout: out\ndata: {chat: data/train.jsonl}\n", "job.yaml", "/j");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->base, "/j/b");
  EXPECT_EQ(job->data.chat, "/j/data/train.jsonl");
}

TEST(Job, MistakesAreNamedAllAtOnce) {
  const auto job = parse_job("base: b\noutt: out\ndata: {chat: x}\nlora: {r: 0}\n", "job.yaml");
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().message,
            "job.yaml:1:1: out: missing; final adapter (PEFT folder) and metrics.jsonl\n"
            "job.yaml:2:1: outt: unknown key; did you mean 'out'?\n"
            "job.yaml:4:11: lora.r: '0' is out of range; allowed: from 1 to 4096");
  const auto two = parse_job("base: b\nout: o\ndata: {chat: x, tokens: y}\n", "job.yaml");
  ASSERT_FALSE(two);
  EXPECT_THAT(two.error().message, HasSubstr("2 sources"));
  const auto dpo = parse_job("base: b\nout: o\ndata: {chat: x}\nloss: {name: dpo}\n", "job.yaml");
  ASSERT_FALSE(dpo);
  EXPECT_THAT(dpo.error().message, HasSubstr("loss dpo needs data.pairs"));
}

TEST(Job, SchemaNamesTheKeys) {
  const auto schema = parse_json(job_schema_json());
  ASSERT_TRUE(schema);
  for (const char* key : {"base", "out", "data", "lora", "kl", "batch_tokens"}) {
    EXPECT_TRUE((*schema)["properties"].contains(key)) << key;
  }
}

JobResult good_result() {
  JobResult result;
  result.status = "ok";
  result.adapter_dir = "/out";
  result.adapter_sha256 = std::string(64, 'a');
  result.steps = 30;
  result.final_loss = 0.25;
  result.eval_loss_after = NAN;
  return result;
}

TEST(JobResultDocument, ReadsBackAndKeepsMissingApartFromZero) {
  const auto result = parse_result(result_json(good_result()));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->steps, 30);
  EXPECT_DOUBLE_EQ(result->final_loss, 0.25);
  EXPECT_TRUE(std::isnan(result->eval_loss_after));
}

TEST(JobResultDocument, HalfATruthIsCorrupt) {
  JobResult nan = good_result();
  nan.final_loss = NAN;
  JobResult unhashed = good_result();
  unhashed.adapter_sha256.clear();
  JobResult nameless = good_result();
  nameless.status = "failed";
  for (const std::string& text :
       {result_json(nan), result_json(unhashed), result_json(nameless), std::string("{\"status\":"),
        std::string("[]"), std::string("{\"status\":\"done\"}"), std::string()}) {
    const auto result = parse_result(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, Code::kCorrupt);
  }
}

TEST(HeartbeatDocument, ReadsBack) {
  const auto beat =
      parse_heartbeat(heartbeat_json({.step = 3, .steps = 9, .loss = NAN, .ts_ms = 5}));
  ASSERT_TRUE(beat);
  EXPECT_EQ(beat->step, 3);
  EXPECT_TRUE(std::isnan(beat->loss));
  EXPECT_FALSE(parse_heartbeat("{}"));
  EXPECT_FALSE(parse_heartbeat("x"));
}

}  // namespace
}  // namespace trimtab::retrain
