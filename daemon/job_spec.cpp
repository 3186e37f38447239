#include "daemon/job_spec.h"

#include <utility>

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> split_modules(const std::string& text) {
  std::vector<std::string> names;
  std::string name;
  for (const char c : text + ",") {
    if (c != ',') {
      if (c != ' ') name += c;
    } else if (!name.empty()) {
      names.push_back(std::exchange(name, {}));
    }
  }
  return names;
}

const char* schedule_name(config::LrSchedule schedule) {
  switch (schedule) {
    case config::LrSchedule::kLinear: return "linear";
    case config::LrSchedule::kConstant: return "constant";
    default: return "cosine";
  }
}

const char* curriculum_name(config::CurriculumOrder order) {
  switch (order) {
    case config::CurriculumOrder::kEasyFirst: return "easy_first";
    case config::CurriculumOrder::kHardFirst: return "hard_first";
    default: return "none";
  }
}

// retrain.search as the job's study; an adapter that goes on keeps its rank.
retrain::JobSearch search_of(const config::RetrainSettings& retrain) {
  const config::SearchSettings& s = retrain.search;
  const config::TrainingSettings& training = retrain.training;
  retrain::JobSearch search;
  switch (s.sampler) {
    case config::Sampler::kNone: return search;
    case config::Sampler::kRandom: search.sampler = "random"; break;
    case config::Sampler::kGrid: search.sampler = "grid"; break;
    case config::Sampler::kTpe: search.sampler = "tpe"; break;
  }
  if (s.asha) search.pruner = "asha";
  search.trials = s.trials;
  search.budget_s = static_cast<double>(s.budget_ms) / 1000.0;
  search.weight_forgetting = s.weight_forgetting;
  search.space.push_back(
      {.key = "optimizer.lr", .low = training.lr / 4, .high = training.lr * 4, .log = true});
  if (!s.ranks.empty() && training.init_from == config::InitFrom::kBase)
    search.space.push_back({.key = "lora.r", .values = s.ranks});
  if (!s.replay_shares.empty())
    search.space.push_back({.key = "data.replay_share", .values = s.replay_shares});
  return search;
}

const char* device_name(config::Device device) {
  switch (device) {
    case config::Device::kCpu: return "cpu";
    case config::Device::kCuda: return "cuda";
    default: return "auto";
  }
}

}  // namespace

retrain::JobSpec job_spec(const config::TargetSettings& settings, const fs::path& folder,
                          const Job& job, const shadow::AdapterRef& champion,
                          const retrain::DataFiles& files) {
  const auto& training = settings.retrain.training;
  const auto& limits = settings.retrain.limits;
  retrain::JobSpec spec;
  spec.id = job.id;
  spec.target = settings.name;
  spec.base = settings.base;
  spec.out = (folder / "out").string();
  if (training.init_from == config::InitFrom::kChampion) spec.init_adapter = champion.uri;
  spec.device = device_name(limits.device);
  spec.data.chat = files.train.string();
  spec.data.eval = files.eval.string();
  spec.steps = training.max_steps;
  spec.epochs = training.epochs;
  spec.lora = {.r = training.lora.r,
               .lora_alpha = training.lora.lora_alpha,
               .lora_dropout = training.lora.lora_dropout,
               .target_modules = split_modules(training.lora.target_modules),
               .use_rslora = training.lora.use_rslora,
               .rank_pattern = {},
               .alpha_pattern = {}};
  spec.optimizer.lr = training.lr;
  spec.optimizer.weight_decay = training.weight_decay;
  spec.optimizer.clip_norm = training.clip_norm;
  spec.schedule.name = schedule_name(training.schedule);
  spec.schedule.warmup_share = training.warmup_share;
  spec.kl.weight = training.kl.weight;
  const bool to_champion = training.kl.reference == config::InitFrom::kChampion;
  spec.kl.reference = to_champion && !spec.init_adapter.empty() ? "init_adapter" : "base";
  spec.data.keep = files.keep.string();
  spec.optimizer.loraplus_lr_ratio = training.loraplus_lr_ratio;
  spec.filters.outlier_z = training.outlier_z;
  spec.filters.typos = training.typos;
  spec.curriculum.order = curriculum_name(training.curriculum);
  if (training.gradient_surgery == config::GradientSurgery::kPcgrad)
    spec.gradient_surgery = "pcgrad";
  spec.mlflow.url = training.mlflow_url;
  spec.mlflow.experiment = training.mlflow_experiment;
  if (!spec.data.eval.empty()) spec.search = search_of(settings.retrain);
  spec.batch_sequences = training.batch_sequences;
  spec.batch_tokens = training.batch_tokens;
  spec.max_length = training.max_length;
  spec.eval_every = training.eval_every;
  spec.early_stop_patience = training.early_stop_patience;
  spec.checkpoint_every_steps = limits.checkpoint_every_steps;
  spec.checkpoint_every_s = static_cast<double>(limits.checkpoint_every_ms) / 1000.0;
  spec.threads = limits.threads;
  spec.seed = training.seed;
  spec.max_seconds = static_cast<double>(limits.max_duration_ms) / 1000.0;
  spec.memory_limit_bytes = limits.memory_bytes;
  spec.provenance = {{"job", job.id},
                     {"alarm", job.alarm},
                     {"trigger", job.trigger},
                     {"manifest_sha256", files.manifest_sha256},
                     {"champion", champion.label()}};
  return spec;
}

}  // namespace trimtab::daemon
