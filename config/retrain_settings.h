// When a target is retrained, on what, and within which limits. Section `retrain:` of a target.
// Sources: LORA.md sections 2 and 5, STATISTICS.md sections 2 and 9, PROMOTION.md section 1.
// Plain values; YAML keys, ranges and units are rows of config/tables_retrain.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trimtab::config {

enum class Trigger {
  kHarm,            // a harm alarm
  kDrift,           // any drift alarm
  kDriftConfirmed,  // drift confirmed by harm or by a label-free estimate
  kSchedule,        // every `schedule_every`
  kVolume,          // `volume_examples` new examples since the last job
  kManual,          // `trimtab retrain`
};

struct DataSettings {
  // Stable-hash share of the units that no job ever trains on: the hold-out before the onset and
  // the shadow pool after it. Half, because the shadow verdict needs about as many as training.
  double eval_share = 0.5;
  std::int64_t max_examples = 20'000;           // newest first; a job stays a matter of minutes
  std::int64_t max_age_ms = 30LL * 86'400'000;  // = store.retention_age
  bool good_answers = true;                     // thumbs-up texts train too (weight below)
  double weight_correction = 1.0;
  double weight_good = 0.5;       // the champion's own words: they confirm, not teach
  double validation_share = 0.1;  // of the training units, for early stopping
  // Replay against forgetting. 900 corrections + 1,800 replayed + KL lost no old accuracy where
  // 225 replayed lost 7 points (LORA.md section 2, issue figures).
  double replay_share = 0.667;  // of all training lines
  std::int64_t replay_max = 20'000;
  std::int64_t replay_per_class = 200;  // the reservoir's bound per class (task)
  std::int64_t replay_classes = 500;    // classes with a reservoir; the rest shares one
  // No class, tenant or labelling source may own a job. 0 = no cap.
  std::int64_t max_per_class = 1'000;
  std::int64_t max_per_tenant = 5'000;
  std::int64_t max_per_source = 1'000;
  double near_duplicate = 0.8;  // Jaccard of 5-character shingles; 1 = exact only
  std::int64_t decontaminate_ngram =
      8;  // words shared with an evaluation text; 13 in GPT-3, 8 in Llama 2's
  std::int64_t max_text_bytes = 32'768;  // a longer example is left out
  std::vector<std::string> languages;     // ISO codes; empty = all. Where none can be told: kept.
  bool quality_filter = true;             // broken or self-repeating texts (retrain/text_quality.h)
  std::vector<std::string> redact_names;  // become [NAME] in what is trained on
  // Quarantine: corrections of a source, or of all together, above factor x their usual hourly rate
  // are kept, shown and not trained on until released.
  double quarantine_factor = 5.0;      // of one source
  double quarantine_factor_all = 5.0;  // of all together, unless the random sample bears them out
  std::int64_t quarantine_window_ms = 3'600'000;
  std::int64_t quarantine_minimum = 20;  // in one window; below it no burst is called
};

enum class InitFrom { kChampion, kBase };
enum class LrSchedule { kCosine, kLinear, kConstant };

struct LoraSettings {
  std::int64_t r = 16;  // all-linear r16 alpha 32: LORA.md section 2
  double lora_alpha = 32;
  double lora_dropout = 0;
  std::string target_modules = "all-linear";  // or comma-separated module names
  bool use_rslora = false;
};

struct KlSettings {
  double weight = 1.0;  // KL(reference || model) on replayed lines; 0 = off
  InitFrom reference = InitFrom::kChampion;
};

enum class Sampler { kNone, kRandom, kGrid, kTpe };

// A study instead of one run (retrain/search.h): learning rate times 1/4 .. 4, the listed ranks and
// shares of replay.
struct SearchSettings {
  Sampler sampler = Sampler::kNone;
  bool asha = true;  // stop what falls behind at 1/9 and 1/3 of the steps
  std::int64_t trials = 9;
  std::int64_t budget_ms = 3'600'000;  // of training, all trials together
  std::vector<double> ranks;           // empty: lora.r only
  std::vector<double> replay_shares;   // empty: as data.replay_share made it
  double weight_forgetting = 1.0;      // of the loss gained on replay's validation lines
};

enum class CurriculumOrder { kNone, kEasyFirst, kHardFirst };
enum class GradientSurgery { kNone, kPcgrad };

struct TrainingSettings {
  InitFrom init_from = InitFrom::kChampion;  // a new adapter goes on from the one that serves
  LoraSettings lora;
  KlSettings kl;
  double loraplus_lr_ratio = 1;  // LoRA+: B's learning rate over A's
  CurriculumOrder curriculum = CurriculumOrder::kNone;       // by the champion's loss
  GradientSurgery gradient_surgery = GradientSurgery::kNone;  // across tenants
  double outlier_z = 0;  // robust z of the champion's loss above which a line is left out; 0 = off
  double typos = 0;      // copies with typing errors, as a share of the new lines
  std::string mlflow_url;  // tracking server; empty = off
  std::string mlflow_experiment = "trimtab";
  double lr = 2e-4;
  LrSchedule schedule = LrSchedule::kCosine;
  double warmup_share = 0.05;  // 3-10 %
  double weight_decay = 0;
  double clip_norm = 1.0;
  double epochs = 3;
  std::int64_t max_steps = 0;         // 0 = by epochs
  std::int64_t batch_sequences = 32;  // "at most 32 sequences a batch"
  std::int64_t batch_tokens = 4'096;
  std::int64_t max_length = 2'048;       // tokens of one example; longer ones are left out, counted
  std::int64_t eval_every = 0;           // steps; 0 = ten times a run
  std::int64_t early_stop_patience = 3;  // evaluations without improvement; 0 = off
  std::int64_t seed = 1;
};

enum class LauncherKind {
  kLocal,  // a child process of the daemon (containers, tests, one box)
  kSpool,  // a file in the spool folder starts trimtab-worker@.service (systemd)
};
enum class Device { kAuto, kCpu, kCuda };

struct LimitSettings {
  LauncherKind launcher = LauncherKind::kLocal;
  std::string worker = "trimtab-worker";  // path, or a name looked up beside trimtabd, then in PATH
  std::string spool_dir = "/var/lib/trimtab/spool";  // launcher spool
  Device device = Device::kAuto;
  std::int64_t threads = 0;  // 0 = all cores
  std::int64_t memory_bytes =
      0;  // of address space (RLIMIT_AS) and told to the worker; 0 = no bound
  std::int64_t max_duration_ms = 2LL * 3'600'000;
  std::int64_t heartbeat_timeout_ms = 120'000;  // the worker writes at least every 5 s
  std::int64_t kill_grace_ms = 30'000;          // TERM, then KILL
  std::int64_t checkpoint_every_steps = 50;
  std::int64_t checkpoint_every_ms = 60'000;
  std::int64_t log_bytes = 4LL << 20;  // worker.log and one predecessor, each
  std::int64_t max_restarts = 2;       // of one interrupted job, from its checkpoint
  std::int64_t nice = 10;              // serving comes first
};

struct RetrainSettings {
  // STATISTICS.md section 2: by default only harm, or drift confirmed, launches a job.
  std::vector<Trigger> triggers = {Trigger::kHarm, Trigger::kDriftConfirmed, Trigger::kManual};
  std::int64_t schedule_every_ms = 7LL * 86'400'000;
  std::int64_t volume_examples = 5'000;
  std::int64_t cooldown_ms = 6LL * 3'600'000;  // after every end; holds back automatic jobs only
  std::int64_t minimum_examples = 200;  // training examples, after evaluation units are left out
  std::int64_t max_jobs_per_day = 4;    // automatic ones, any 24 h
  // "HH:MM-HH:MM" in UTC, may wrap midnight; empty = always. Automatic jobs only.
  std::vector<std::string> allowed_hours;
  std::int64_t wait_for_examples_ms = 86'400'000;  // an alarm waits so long for its examples
  double retry_growth = 0.5;                       // after REJECTED/INCONCLUSIVE: data grew by half
  std::int64_t retry_attempts = 3;                 // then an alert
  DataSettings data;
  TrainingSettings training;
  SearchSettings search;
  LimitSettings limits;
};

}  // namespace trimtab::config
