#include "retrain/model/train_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "base/hash.h"

namespace trimtab::model {

using retrain::JobSpec;

namespace {

Result<LossKind> loss_kind(const JobSpec& job) {
  const bool pairs = !job.data.pairs.empty();
  const bool thumbs = !job.data.thumbs.empty();
  if (job.loss.name == "sft" && !pairs && !thumbs) return LossKind::kSft;
  if (job.loss.name == "dpo" && pairs) return LossKind::kDpo;
  if (job.loss.name == "orpo" && pairs) return LossKind::kOrpo;
  if (job.loss.name == "apo_zero_unpaired" && thumbs) return LossKind::kApoZeroUnpaired;
  return fail(Code::kInvalid,
              "bad_job: loss '" + job.loss.name +
                  "' does not fit the data (sft: tokens, text, prompts or chat; dpo, orpo: pairs; "
                  "apo_zero_unpaired: thumbs)");
}

}  // namespace

Result<TrainerSettings> trainer_settings(const JobSpec& job, int lanes) {
  TrainerSettings s;
  TRIMTAB_TRY(s.loss, loss_kind(job));
  s.beta = job.loss.beta;
  s.desirable_weight = job.loss.desirable_weight;
  s.undesirable_weight = job.loss.undesirable_weight;
  s.kl_weight = job.kl.weight;
  s.kl_to_base = job.kl.reference == "base";
  if (job.optimizer.betas.size() != 2)
    return fail(Code::kInvalid, "bad_job: optimizer.betas must be two numbers");
  s.beta1 = job.optimizer.betas[0];
  s.beta2 = job.optimizer.betas[1];
  s.eps = job.optimizer.eps;
  s.weight_decay = job.optimizer.weight_decay;
  s.b_lr_ratio = job.optimizer.loraplus_lr_ratio;
  s.clip_norm = job.optimizer.clip_norm;
  s.dropout = job.lora.lora_dropout;
  s.seed = job.seed;
  s.lanes = lanes;
  s.checkpoint_activations = job.checkpoint_activations;
  s.pcgrad = job.gradient_surgery == "pcgrad";
  return s;
}

std::vector<std::int64_t> trained_layers(const retrain::JobLora& lora, std::int64_t layers) {
  std::vector<std::int64_t> list;
  for (const double layer : lora.layers_to_transform)
    list.push_back(static_cast<std::int64_t>(layer));
  for (std::int64_t i = lora.freeze_first; lora.freeze_first > 0 && i < layers; ++i)
    list.push_back(i);
  if (lora.freeze_first >= layers && lora.freeze_first > 0)
    list.push_back(layers);  // refused later
  return list;
}

LoraSpec lora_spec(const JobSpec& job, const ModelConfig& config) {
  LoraSpec spec;
  spec.r = job.lora.r;
  spec.alpha = job.lora.lora_alpha;
  spec.dropout = job.lora.lora_dropout;
  spec.all_linear = job.lora.target_modules == std::vector<std::string>{"all-linear"};
  if (!spec.all_linear) spec.target_modules = job.lora.target_modules;
  spec.use_rslora = job.lora.use_rslora;
  spec.use_dora = job.lora.use_dora;
  for (const auto& [key, r] : job.lora.rank_pattern)
    spec.rank_pattern.emplace_back(key, static_cast<std::int64_t>(r));
  spec.alpha_pattern = {job.lora.alpha_pattern.begin(), job.lora.alpha_pattern.end()};
  spec.layers = trained_layers(job.lora, config.layers);
  return spec;
}

std::string config_digest(JobSpec job) {
  job.out.clear();
  job.base.clear();
  job.init_adapter.clear();
  job.plan.clear();
  job.orthogonal.adapters.clear();
  for (std::string* path : {&job.data.tokens, &job.data.text, &job.data.prompts, &job.data.pairs,
                            &job.data.thumbs, &job.data.chat, &job.data.eval, &job.data.keep})
    path->clear();
  job.id.clear();
  job.target.clear();
  job.checkpoint_every_s = 0;
  job.checkpoint_every_steps = 0;
  job.max_seconds = 0;
  job.memory_limit_bytes = 0;
  job.peer_timeout_s = 0;
  job.mlflow = {};
  job.search = {};
  job.provenance.clear();
  return sha256_hex(retrain::job_yaml(job));
}

std::string reason_of(const Error& error) {
  for (const char* name :
       {"nan_loss", "no_data", "out_of_memory", "disk_full", "wrong_base", "bad_job",
        "checkpoint_mismatch", "lost_peer", "peer_mismatch", "paraphrase", "no_trial"}) {
    if (error.message.find(std::string(name) + ":") != std::string::npos) return name;
  }
  for (const char* words : {"No space left", "File too large", "Disk quota exceeded"}) {
    if (error.message.find(words) != std::string::npos) return "disk_full";
  }
  if (error.code == Code::kInvalid || error.code == Code::kNotFound) return "bad_job";
  if (error.code == Code::kCorrupt) return "corrupt_input";
  return "failed";
}

bool is_input_fault(const std::string& reason) {
  return reason == "bad_job" || reason == "corrupt_input" || reason == "peer_mismatch";
}

namespace {

std::string exact(double value) {  // hexadecimal: the same double comes back
  std::ostringstream out;
  out << std::hexfloat << value;
  return out.str();
}

}  // namespace

std::map<std::string, std::string> to_words(const Progress& p) {
  return {{"step", std::to_string(p.step)},
          {"tokens", std::to_string(p.tokens)},
          {"supervised", std::to_string(p.supervised)},
          {"first_loss", exact(p.first_loss)},
          {"last_loss", exact(p.last_loss)},
          {"eval_before", exact(p.eval_before)},
          {"keep_before", exact(p.keep_before)},
          {"last_eval", exact(p.last_eval)},
          {"best_eval", exact(p.best_eval)},
          {"bad_evals", std::to_string(p.bad_evals)},
          {"early_stopped", p.early_stopped ? "1" : "0"}};
}

Result<Progress> from_words(const std::map<std::string, std::string>& words) {
  for (const auto& [key, value] : to_words({})) {
    if (words.count(key) == 0)
      return fail(Code::kCorrupt, "the checkpoint has no '" + key + "'; remove it to start over");
  }
  const auto number = [&](const char* key) { return std::strtod(words.at(key).c_str(), nullptr); };
  const auto count = [&](const char* key) {
    return static_cast<std::int64_t>(std::strtoll(words.at(key).c_str(), nullptr, 10));
  };
  Progress p;
  p.step = count("step");
  p.tokens = count("tokens");
  p.supervised = count("supervised");
  p.first_loss = number("first_loss");
  p.last_loss = number("last_loss");
  p.eval_before = number("eval_before");
  p.keep_before = number("keep_before");
  p.last_eval = number("last_eval");
  p.best_eval = number("best_eval");
  p.bad_evals = count("bad_evals");
  p.early_stopped = words.at("early_stopped") == "1";
  return p;
}

}  // namespace trimtab::model
