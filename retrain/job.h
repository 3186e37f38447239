// Job: the two documents of a job folder. `job.yaml` says what the worker shall do, `result.json`
// what came of it (written last, atomically). Keys: COMMANDS.md, the extensions below, and the JSON
// Schema of job_schema_json(). Used by the daemon (writes jobs, reads results) and by the worker
// (the other way round). Pure but for file access; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::retrain {

struct JobData {
  // Exactly one of tokens, text, prompts, pairs, thumbs, chat (files; JSONL but for text).
  std::string tokens;   // {"input_ids", "labels"}
  std::string text;     // {"text"} a line; any other ending than .jsonl: blank lines part documents
  std::string prompts;  // {"prompt", "completion"}
  std::string pairs;    // {"prompt", "chosen", "rejected"}: token ids, texts or chat messages
  std::string thumbs;   // {"prompt", "completion", "good"}: likewise
  std::string chat;  // {"id", "messages", "weight", "kind", "kl", "task"}; the last is the target
  std::string eval;  // tokens, text, prompts or chat lines for early stopping; optional
  std::string keep;  // likewise, of old tasks: their loss before and after is reported
  double replay_share = -1;  // of the lines; -1: as they are; else replay lines are left out to fit
};

// What is left out or added before training, by the worker (curation.h has the daemon's filters).
struct JobFilters {
  double outlier_z = 0;     // robust z of the initial adapter's loss, above it: left out; 0 = off
  double typos = 0;         // copies with typing errors, as a share of the new lines
  double typo_rate = 0.03;  // errors a character, in the user's words only
  double paraphrases = 0;   // copies reworded by a served model, as a share of the new lines
  std::string paraphrase_url;    // its OpenAI-compatible API, as http://host:port/v1
  std::string paraphrase_model;  // the model to ask for
};

struct JobLora {
  std::int64_t r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0;
  // "all-linear", or the names of modules.
  std::vector<std::string> target_modules = {"all-linear"};
  bool use_rslora = false;
  bool use_dora = false;
  // By regular expression on a module's name; the first that fits counts, so in the file's order.
  std::vector<std::pair<std::string, double>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<double> layers_to_transform;    // PEFT's name; empty: all layers
  std::int64_t freeze_first = 0;              // the first so many layers get no adapter
  std::string init_lora_weights = "kaiming";  // kaiming (B = 0) | pissa
  std::int64_t pissa_niter = 0;  // 0: exact SVD; else randomised, with so many power iterations
};

struct JobOptimizer {
  std::string name = "adamw";
  double lr = 2e-4;
  double loraplus_lr_ratio = 1;  // PEFT's name: B's (and magnitudes') learning rate over A's
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
  std::string supervise = "completion";  // completion | whole: what of a text line counts in sft
};

struct JobKl {
  double weight = 0;                       // 0 = off
  std::string on = "replay";               // lines of kind replay, or with "kl": true
  std::string reference = "init_adapter";  // init_adapter | base
};

// O-LoRA: weight x sum ||A_earlier A^T||^2, so that the update stays out of the subspaces of
// earlier adapters.
struct JobOrthogonal {
  double weight = 0;                  // 0 = off
  std::vector<std::string> adapters;  // folders of the earlier ones
};

struct JobCurriculum {
  std::string order = "none";  // none | easy_first | hard_first, by the initial adapter's loss
  std::int64_t epochs = 1;     // ordered passes; the later ones are shuffled
};

// One searched key: either low..high or a list.
struct JobSearchKey {
  std::string key;  // optimizer.lr
  double low = 0;
  double high = 0;
  bool log = false;
  bool integer = false;
  std::vector<double> values;
};

// A study: the job is run with several settings, the best one's adapter becomes `out`.
struct JobSearch {
  std::string sampler = "none";  // none (no study) | random | grid | tpe
  std::string pruner = "none";   // none | asha
  std::int64_t trials = 16;
  double budget_s = 0;           // of training, all trials together; 0 = no bound
  std::int64_t rungs = 3;        // asha: the first at steps / eta^(rungs - 1)
  std::int64_t eta = 3;          // asha: one of so many goes on
  double weight_new = 1;         // the score that ranks trials: weighted sum of eval loss,
  double weight_forgetting = 1;  // loss gained on data.keep,
  double weight_seconds = 0;     // and seconds of training
  std::vector<JobSearchKey> space;
};

// MLflow's REST API; the finished run is logged there.
struct JobMlflow {
  std::string url;  // http://host:port; empty = off
  std::string experiment = "trimtab";
  std::string run_name;
  bool artifacts = true;
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
  JobFilters filters;
  JobOrthogonal orthogonal;
  JobCurriculum curriculum;
  std::string gradient_surgery = "none";  // none | pcgrad, across the lines' tasks
  JobSearch search;
  JobMlflow mlflow;
  bool checkpoint_activations = false;  // less memory, 6N instead of 4N a token
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
  double peer_timeout_s = 60;           // data parallel: silence that means a lost peer
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
// Sets one number or boolean by its path (`lora.r`); kInvalid: no such key (with the nearest), not
// a number's place, out of the key's range.
[[nodiscard]] Status set_job_number(JobSpec& job, const std::string& key, double value);

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
  // Of data.keep; NaN without it.
  double keep_loss_before = std::numeric_limits<double>::quiet_NaN();
  double keep_loss_after = std::numeric_limits<double>::quiet_NaN();
  std::map<std::string, std::int64_t> left_out;  // reason -> lines that were not trained on
  std::map<std::string, std::int64_t> added;     // typos, paraphrases
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
