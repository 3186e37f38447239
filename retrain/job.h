// Job: the two documents of a job folder. `job.yaml` says what the worker shall do, `result.json`
// what came of it (written last, atomically). Keys: COMMANDS.md, the extensions below, and the JSON
// Schema of job_schema_json(). Used by the daemon (writes jobs, reads results) and by the worker
// (the other way round). Pure but for file access; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::retrain {

struct JobData {
  // Exactly one of tokens, pairs, thumbs, chat (files, JSONL).
  std::string tokens;  // {"input_ids", "labels"}
  std::string pairs;   // {"prompt", "chosen", "rejected"}, token ids
  std::string thumbs;  // {"prompt", "completion", "good"}, token ids
  std::string chat;    // {"id", "messages", "weight", "kind", "kl"}; the last message is the target
  std::string eval;    // chat lines for early stopping; optional
};

struct JobLora {
  std::int64_t r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0;
  // "all-linear", or the names of modules.
  std::vector<std::string> target_modules = {"all-linear"};
  bool use_rslora = false;
  bool use_dora = false;
  std::map<std::string, double> rank_pattern;
  std::map<std::string, double> alpha_pattern;
};

struct JobOptimizer {
  std::string name = "adamw";
  double lr = 2e-4;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  double clip_norm = 1.0;  // 0 = off
};

struct JobSchedule {
  std::string name = "cosine";     // cosine | constant | linear
  std::int64_t warmup_steps = -1;  // -1: by warmup_share
  double warmup_share = 0.05;
};

struct JobLoss {
  std::string name = "sft";  // sft | dpo | apo_zero_unpaired | orpo
  double beta = 0.1;
  double desirable_weight = 1;
  double undesirable_weight = 1;
};

struct JobKl {
  double weight = 0;                       // 0 = off
  std::string on = "replay";               // lines of kind replay, or with "kl": true
  std::string reference = "init_adapter";  // init_adapter | base
};

struct JobSpec {
  std::string id;      // job-<seq>; empty for a job written by hand
  std::string target;  // for names and provenance
  std::string base;
  std::string out;
  std::string init_adapter;
  std::string base_sha256;  // base_digest the base must have; empty = any
  std::string tokenizer_sha256;
  std::string dtype = "auto";   // auto | float32 | bfloat16
  std::string device = "auto";  // auto | cpu | cuda
  JobData data;
  std::string plan;        // [[[index, ..] micro-batch, ..] step, ..], instead of sampling
  std::int64_t steps = 0;  // 0 = by epochs
  double epochs = 3;
  JobLora lora;
  JobOptimizer optimizer;
  JobSchedule schedule;
  JobLoss loss;
  JobKl kl;
  std::int64_t batch_sequences = 32;
  std::int64_t batch_tokens = 4'096;
  std::int64_t max_length = 2'048;
  std::int64_t eval_every = 0;               // 0 = ten times a run
  std::int64_t early_stop_patience = 3;      // 0 = off
  std::int64_t checkpoint_every_steps = 50;  // 0 = none
  double checkpoint_every_s = 60;
  std::int64_t save_grads_at_step = 0;  // 0 = never
  std::int64_t threads = 0;             // 0 = all
  std::int64_t seed = 1;
  double max_seconds = 0;               // 0 = no bound
  std::int64_t memory_limit_bytes = 0;  // 0 = no bound
  // Free text into provenance.json: alarm, trigger, manifest's sha256 and the like.
  std::map<std::string, std::string> provenance;
};

// The document, keys in the order above, defaults included. JSON scalars in block style YAML.
[[nodiscard]] std::string job_yaml(const JobSpec& job);
// Strict, as config/load.h: kInvalid with one line a mistake, `name:line:col: ...`. Relative paths
// are taken from `folder` (empty: left as they are).
[[nodiscard]] Result<JobSpec> parse_job(std::string_view text, const std::string& name,
                                        const std::filesystem::path& folder = {});
[[nodiscard]] Result<JobSpec> load_job(const std::filesystem::path& path);
[[nodiscard]] std::string job_schema_json();

struct JobResult {
  std::string status;  // ok | failed | interrupted
  // failed: nan_loss no_data out_of_memory disk_full wrong_base bad_job ..; else empty
  std::string reason;
  std::string message;
  std::string adapter_dir;
  std::string adapter_sha256;  // of adapter_model.safetensors
  std::string base_sha256;
  std::string tokenizer_sha256;
  std::int64_t examples = 0;
  std::int64_t eval_examples = 0;
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  std::int64_t supervised_tokens = 0;
  double seconds = 0;
  double tokens_per_s = 0;
  // NaN where the worker wrote null or nothing: missing is not zero.
  double first_loss = 0;
  double final_loss = 0;
  double eval_loss_before = 0;
  double eval_loss_after = 0;
  bool early_stopped = false;
};

[[nodiscard]] std::string result_json(const JobResult& result);
// kCorrupt when it is no such document; status ok REQUIRES adapter_dir, adapter_sha256 and a finite
// final_loss.
[[nodiscard]] Result<JobResult> parse_result(std::string_view text);

struct Heartbeat {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double loss = 0;  // NaN before the first step
  double tokens_per_s = 0;
  std::int64_t ts_ms = 0;
};
[[nodiscard]] std::string heartbeat_json(const Heartbeat& heartbeat);
[[nodiscard]] Result<Heartbeat> parse_heartbeat(std::string_view text);

}  // namespace trimtab::retrain
