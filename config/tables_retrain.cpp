// Rows of `retrain:`. Several bounds repeat what the worker checks itself (batch_sequences <= 32,
// LORA.md section 2): a job should fail when the file is read, not when the alarm comes.
#include "config/tables.h"

namespace trimtab::config {
namespace {

Table<DataSettings> data_table() {
  using D = DataSettings;
  Table<D> t;
  t.integer("max_examples", &D::max_examples, 1, 10'000'000, "newest first");
  t.duration("max_age", &D::max_age_ms, 1'000, 20 * kYearInMs, "older examples are left out");
  t.boolean("good_answers", &D::good_answers, "thumbs-up answers train too");
  t.number("weight_correction", &D::weight_correction, 0, 100, "loss weight of a correction");
  t.number("weight_good", &D::weight_good, 0, 100, "loss weight of a thumbs-up answer");
  t.number("validation_share", &D::validation_share, 0, 0.5, "for early stopping");
  t.number("replay_share", &D::replay_share, 0, 0.95, "of all training lines");
  t.integer("replay_max", &D::replay_max, 0, 10'000'000, "replayed lines at most");
  t.integer("replay_per_class", &D::replay_per_class, 1, 1'000'000, "the reservoir, a class");
  t.integer("replay_classes", &D::replay_classes, 1, 100'000, "classes with one of their own");
  t.integer("max_per_class", &D::max_per_class, 0, 10'000'000, "0 = no cap");
  t.integer("max_per_tenant", &D::max_per_tenant, 0, 10'000'000, "0 = no cap");
  t.integer("max_per_source", &D::max_per_source, 0, 10'000'000,
            "of one labelling source; 0 = no cap");
  t.number("near_duplicate", &D::near_duplicate, 0.5, 1,
           "Jaccard similarity of 5-character shingles; 1 = exact only");
  t.integer("decontaminate_ngram", &D::decontaminate_ngram, 3, 64,
            "words in a row shared with an evaluation text");
  t.size("max_text", &D::max_text_bytes, 256, 16 << 20, "a longer example is left out");
  t.strings("languages", &D::languages,
            "ISO codes as en; empty = all, what cannot be told is kept");
  t.boolean("quality_filter", &D::quality_filter, "leave out broken or self-repeating texts");
  t.strings("redact_names", &D::redact_names, "become [NAME] in what is trained on");
  t.number("quarantine_factor", &D::quarantine_factor, 1.5, 1'000, "times the usual rate");
  t.number("quarantine_factor_all", &D::quarantine_factor_all, 1.5, 1'000,
           "the same for all sources together");
  t.duration("quarantine_window", &D::quarantine_window_ms, 1'000, 7 * kDayInMs,
             "the span in which a rate is counted");
  t.integer("quarantine_minimum", &D::quarantine_minimum, 1, 1'000'000,
            "fewer corrections in a window are no burst");
  return t;
}

Table<SearchSettings> search_table() {
  using S = SearchSettings;
  Table<S> t;
  t.choice("sampler", &S::sampler, {"none", "random", "grid", "tpe"}, "none: one run a job");
  t.boolean("asha", &S::asha, "stop what falls behind at 1/9 and 1/3 of the steps");
  t.integer("trials", &S::trials, 1, 10'000, "settings to try at most");
  t.duration("budget", &S::budget_ms, 1'000, 30 * kDayInMs, "of training, all trials together");
  t.numbers("ranks", &S::ranks, 1, 1'024, "to choose from; empty: lora.r only");
  t.numbers("replay_shares", &S::replay_shares, 0, 0.95,
            "to choose from; empty: data.replay_share");
  t.number("weight_forgetting", &S::weight_forgetting, 0, 1'000,
           "of the loss gained on replayed validation lines, beside the new task's loss");
  return t;
}

Table<TrainingSettings> training_table() {
  using T = TrainingSettings;
  using Lora = LoraSettings;
  Table<Lora> lora;
  lora.integer("r", &Lora::r, 1, 1'024, "rank");
  lora.number("lora_alpha", &Lora::lora_alpha, 0.001, 10'000, "scale is lora_alpha / r");
  lora.number("lora_dropout", &Lora::lora_dropout, 0, 0.9, "on the adapter's input");
  lora.text("target_modules", &Lora::target_modules, "all-linear, or names with commas")
      .check(check_not_empty);
  lora.boolean("use_rslora", &Lora::use_rslora, "scale by sqrt(r)");
  Table<KlSettings> kl;
  kl.number("weight", &KlSettings::weight, 0, 100, "0 = off");
  kl.choice("reference", &KlSettings::reference, {"champion", "base"}, "whose answers are kept");

  Table<T> t;
  t.choice("init_from", &T::init_from, {"champion", "base"}, "what the adapter starts from");
  t.section("lora", &T::lora, lora, "the adapter's shape");
  t.section("kl", &T::kl, kl, "KL divergence on replayed lines, against forgetting");
  t.number("loraplus_lr_ratio", &T::loraplus_lr_ratio, 0.01, 1'000,
           "LoRA+: learning rate of B over A's");
  t.choice("curriculum", &T::curriculum, {"none", "easy_first", "hard_first"},
           "first pass ordered by the champion's loss");
  t.choice("gradient_surgery", &T::gradient_surgery, {"none", "pcgrad"}, "across tenants");
  t.number("outlier_z", &T::outlier_z, 0, 1e6,
           "robust z of the champion's loss above which a new line is left out; 0 = off");
  t.number("typos", &T::typos, 0, 10, "copies with typing errors, as a share of the new lines");
  t.text("mlflow_url", &T::mlflow_url, "tracking server, http://host:port; empty = off");
  t.text("mlflow_experiment", &T::mlflow_experiment, "made when it is not there");
  t.number("lr", &T::lr, 1e-8, 1, "peak learning rate");
  t.choice("schedule", &T::schedule, {"cosine", "linear", "constant"}, "after the warm-up");
  t.number("warmup_share", &T::warmup_share, 0, 0.5, "of the steps");
  t.number("weight_decay", &T::weight_decay, 0, 1, "AdamW's");
  t.number("clip_norm", &T::clip_norm, 0, 1'000, "of the gradient; 0 = off");
  t.number("epochs", &T::epochs, 0.01, 1'000, "passes over the data");
  t.integer("max_steps", &T::max_steps, 0, 10'000'000, "0 = by epochs");
  t.integer("batch_sequences", &T::batch_sequences, 1, 32, "examples a step at most");
  t.integer("batch_tokens", &T::batch_tokens, 16, 1 << 20, "tokens a step at most");
  t.integer("max_length", &T::max_length, 16, 1 << 17, "tokens of an example; longer: left out");
  t.integer("eval_every", &T::eval_every, 0, 1'000'000, "steps; 0 = ten times a run");
  t.integer("early_stop_patience", &T::early_stop_patience, 0, 1'000,
            "evaluations without improvement; 0 = off");
  t.integer("seed", &T::seed, 0, 2147483647.0, "mixed with the job's id");
  return t;
}

Table<LimitSettings> limits_table() {
  using L = LimitSettings;
  Table<L> t;
  t.choice("launcher", &L::launcher, {"local", "spool"},
           "a child process, or a file that starts trimtab-worker@.service");
  t.text("worker", &L::worker, "path, or a name beside trimtabd or in PATH").check(check_not_empty);
  t.path("spool_dir", &L::spool_dir, "launcher spool: the folder the path unit watches");
  t.choice("device", &L::device, {"auto", "cpu", "cuda"}, "auto: CUDA where there is one");
  t.integer("threads", &L::threads, 0, 1'024, "0 = all cores");
  t.size("memory", &L::memory_bytes, 0, 1LL << 50, "of address space; 0 = no bound");
  t.duration("max_duration", &L::max_duration_ms, 1'000, 30 * kDayInMs, "then TERM, then KILL");
  t.duration("heartbeat_timeout", &L::heartbeat_timeout_ms, 1'000, kDayInMs,
             "a silent worker is hung");
  t.duration("kill_grace", &L::kill_grace_ms, 10, 3'600'000, "between TERM and KILL");
  t.integer("checkpoint_every_steps", &L::checkpoint_every_steps, 1, 1'000'000, "and");
  t.duration("checkpoint_every", &L::checkpoint_every_ms, 1'000, kDayInMs, "whichever is first");
  t.size("log_size", &L::log_bytes, 4 << 10, 1 << 30, "worker.log, and one before it");
  t.integer("max_restarts", &L::max_restarts, 0, 100, "of an interrupted job");
  t.integer("nice", &L::nice, 0, 19, "serving comes first");
  return t;
}

}  // namespace

Table<RetrainSettings> retrain_table() {
  using R = RetrainSettings;
  Table<R> t;
  t.choices("triggers", &R::triggers,
            {"harm", "drift", "drift_confirmed", "schedule", "volume", "manual"},
            "what launches a job");
  t.duration("schedule_every", &R::schedule_every_ms, 1'000, kYearInMs, "trigger schedule");
  t.integer("volume_examples", &R::volume_examples, 1, 100'000'000,
            "new examples since the last job, trigger volume");
  t.duration("cooldown", &R::cooldown_ms, 0, kYearInMs,
             "after every end; holds back automatic jobs only");
  t.integer("minimum_examples", &R::minimum_examples, 1, 10'000'000, "training examples");
  t.integer("max_jobs_per_day", &R::max_jobs_per_day, 0, 10'000, "automatic ones in any 24 h");
  t.strings("allowed_hours", &R::allowed_hours, "HH:MM-HH:MM in UTC; empty = always")
      .check(check_hours);
  t.duration("wait_for_examples", &R::wait_for_examples_ms, 0, kYearInMs,
             "an alarm waits so long for its examples");
  t.number("retry_growth", &R::retry_growth, 0, 100,
           "after REJECTED or INCONCLUSIVE: again once the data grew by this share");
  t.integer("retry_attempts", &R::retry_attempts, 0, 100, "then an alert");
  t.section("data", &R::data, data_table(), "what is trained on");
  t.section("training", &R::training, training_table(), "how");
  t.section("search", &R::search, search_table(),
            "a study over learning rate, rank and replay instead of one run");
  t.section("limits", &R::limits, limits_table(), "the worker's bounds");
  return t;
}

}  // namespace trimtab::config
