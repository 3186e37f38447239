// A job's words as the trainer's settings, and a run's progress as the words of a checkpoint.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "base/result.h"
#include "retrain/job.h"
#include "retrain/model/lora.h"
#include "retrain/model/model_config.h"
#include "retrain/model/trainer.h"

namespace trimtab::model {

// kInvalid "bad_job: ..".
[[nodiscard]] Result<TrainerSettings> trainer_settings(const retrain::JobSpec& job, int lanes);
[[nodiscard]] LoraSpec lora_spec(const retrain::JobSpec& job, const ModelConfig& config);
// layers_to_transform or freeze_first as a list; empty: all.
[[nodiscard]] std::vector<std::int64_t> trained_layers(const retrain::JobLora& lora,
                                                       std::int64_t layers);
// Digest of what must be the same for a checkpoint to go on: everything but paths (their
// contents have digests of their own) and pacing.
[[nodiscard]] std::string config_digest(retrain::JobSpec job);
// Why a job ended, by the contract's names: a message that begins "name: ", or the kind of error.
[[nodiscard]] std::string reason_of(const Error& error);
// True for reasons that mean bad input (exit 2), not a failed run (exit 3).
[[nodiscard]] bool is_input_fault(const std::string& reason);

struct Progress {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::int64_t supervised = 0;
  double first_loss = std::numeric_limits<double>::quiet_NaN();
  double last_loss = std::numeric_limits<double>::quiet_NaN();
  double eval_before = std::numeric_limits<double>::quiet_NaN();
  double keep_before = std::numeric_limits<double>::quiet_NaN();
  double last_eval = std::numeric_limits<double>::quiet_NaN();
  double best_eval = std::numeric_limits<double>::infinity();
  std::int64_t bad_evals = 0;
  bool early_stopped = false;
};
[[nodiscard]] std::map<std::string, std::string> to_words(const Progress& progress);
// kCorrupt when a word is missing.
[[nodiscard]] Result<Progress> from_words(const std::map<std::string, std::string>& words);

}  // namespace trimtab::model
