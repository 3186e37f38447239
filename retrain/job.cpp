#include "retrain/job.h"

#include <algorithm>
#include <cmath>

#include "base/files.h"
#include "config/document.h"
#include "config/reader.h"
#include "config/spelling.h"

namespace trimtab::retrain {
namespace {

using config::Section;
using config::Table;

constexpr double kMost = 1e12;

Table<JobData> data_table() {
  Table<JobData> t;
  t.path("tokens", &JobData::tokens, "lines of {input_ids, labels}");
  t.path("text", &JobData::text,
         "raw text: lines of {text} (.jsonl), else blank lines part documents");
  t.path("prompts", &JobData::prompts, "lines of {prompt, completion}");
  t.path("pairs", &JobData::pairs,
         "lines of {prompt, chosen, rejected}: token ids, texts or chat messages");
  t.path("thumbs", &JobData::thumbs, "lines of {prompt, completion, good}: likewise");
  t.path("chat", &JobData::chat, "lines of {id, messages, weight, kind, kl, task}");
  t.path("eval", &JobData::eval, "tokens, text, prompts or chat lines for early stopping");
  t.path("keep", &JobData::keep, "likewise, of old tasks: loss before and after is reported");
  t.number("replay_share", &JobData::replay_share, -1, 0.99,
           "of the lines: replay lines are left out to fit; -1: as they are");
  return t;
}

Table<JobFilters> filters_table() {
  using F = JobFilters;
  Table<F> t;
  t.number("outlier_z", &F::outlier_z, 0, 1e6,
           "robust z of the initial adapter's loss above which a new line is left out; 0 = off");
  t.number("typos", &F::typos, 0, 10, "copies with typing errors, as a share of the new lines");
  t.number("typo_rate", &F::typo_rate, 0, 0.5, "errors a character of the user's words");
  t.number("paraphrases", &F::paraphrases, 0, 10, "reworded copies, as a share of the new lines");
  t.text("paraphrase_url", &F::paraphrase_url,
         "OpenAI-compatible API that rewords: http://host/v1");
  t.text("paraphrase_model", &F::paraphrase_model, "model to ask for there");
  return t;
}

Table<JobLora> lora_table() {
  Table<JobLora> t;
  t.integer("r", &JobLora::r, 1, 4'096, "rank");
  t.number("lora_alpha", &JobLora::lora_alpha, 1e-6, 1e6, "scale is lora_alpha / r");
  t.number("lora_dropout", &JobLora::lora_dropout, 0, 0.99, "on the adapter's input");
  t.strings("target_modules", &JobLora::target_modules, "all-linear, or names").or_single();
  t.boolean("use_rslora", &JobLora::use_rslora, "scale by sqrt(r)");
  t.boolean("use_dora", &JobLora::use_dora, "magnitude and direction apart");
  t.number_map("rank_pattern", &JobLora::rank_pattern, 1, 4'096, "module -> its own r");
  t.number_map("alpha_pattern", &JobLora::alpha_pattern, 1e-6, 1e6, "module -> its own alpha");
  t.numbers("layers_to_transform", &JobLora::layers_to_transform, 0, 4'096, "empty: all layers");
  t.integer("freeze_first", &JobLora::freeze_first, 0, 4'096, "layers without an adapter");
  t.choice("init_lora_weights", &JobLora::init_lora_weights, {"kaiming", "pissa"},
           "B = 0, or the principal singular vectors of the base (Meng et al. 2024)");
  t.integer("pissa_niter", &JobLora::pissa_niter, 0, 100,
            "0: exact SVD; else randomised, with so many power iterations");
  return t;
}

Table<JobOptimizer> optimizer_table() {
  using O = JobOptimizer;
  Table<O> t;
  t.choice("name", &O::name, {"adamw"}, "Loshchilov and Hutter 2019");
  t.number("lr", &O::lr, 0, 10, "peak learning rate");
  t.number("loraplus_lr_ratio", &O::loraplus_lr_ratio, 1e-3, 1e4,
           "LoRA+: learning rate of B over A's (Hayou et al. 2024)");
  t.numbers("betas", &O::betas, 0, 0.999999, "two");
  t.number("eps", &O::eps, 0, 1, "beside the root");
  t.number("weight_decay", &O::weight_decay, 0, 10, "decoupled");
  t.number("clip_norm", &O::clip_norm, 0, 1e9, "of the whole gradient; 0 = off");
  return t;
}

Table<JobSchedule> schedule_table() {
  using S = JobSchedule;
  Table<S> t;
  t.choice("name", &S::name, {"cosine", "constant", "linear"}, "after the warm-up");
  t.integer("warmup_steps", &S::warmup_steps, -1, kMost, "-1: by warmup_share");
  t.number("warmup_share", &S::warmup_share, 0, 1, "of the steps");
  return t;
}

Table<JobLoss> loss_table() {
  using L = JobLoss;
  Table<L> t;
  t.choice("name", &L::name, {"sft", "dpo", "apo_zero_unpaired", "orpo"}, "the objective");
  t.number("beta", &L::beta, 0, 1e6, "of the preference losses");
  t.number("desirable_weight", &L::desirable_weight, 0, 1e6, "of good thumbs");
  t.number("undesirable_weight", &L::undesirable_weight, 0, 1e6, "of bad ones");
  t.choice("supervise", &L::supervise, {"completion", "whole"},
           "what of a text line counts in sft");
  return t;
}

Table<JobKl> kl_table() {
  Table<JobKl> t;
  t.number("weight", &JobKl::weight, 0, 1e6, "0 = off");
  t.choice("on", &JobKl::on, {"replay"}, "lines of kind replay, or with kl: true");
  t.choice("reference", &JobKl::reference, {"init_adapter", "base"}, "whose answers are kept");
  return t;
}

Table<JobOrthogonal> orthogonal_table() {
  Table<JobOrthogonal> t;
  t.number("weight", &JobOrthogonal::weight, 0, 1e6, "0 = off");
  t.strings("adapters", &JobOrthogonal::adapters, "folders of the earlier adapters");
  return t;
}

Table<JobCurriculum> curriculum_table() {
  Table<JobCurriculum> t;
  t.choice("order", &JobCurriculum::order, {"none", "easy_first", "hard_first"},
           "by the initial adapter's loss");
  t.integer("epochs", &JobCurriculum::epochs, 1, 1'000, "ordered passes; later ones are shuffled");
  return t;
}

Table<JobSearchKey> search_key_table() {
  using K = JobSearchKey;
  Table<K> t;
  t.text("key", &K::key, "a key of this document, as optimizer.lr").required();
  t.number("low", &K::low, -kMost, kMost, "smallest value");
  t.number("high", &K::high, -kMost, kMost, "largest value");
  t.boolean("log", &K::log, "spread evenly over magnitudes");
  t.boolean("integer", &K::integer, "whole numbers only");
  t.numbers("values", &K::values, -kMost, kMost, "instead of low and high: these only");
  return t;
}

Table<JobSearch> search_table() {
  using S = JobSearch;
  Table<S> t;
  t.choice("sampler", &S::sampler, {"none", "random", "grid", "tpe"}, "none: no study");
  t.choice("pruner", &S::pruner, {"none", "asha"}, "who goes on past a rung (Li et al. 2020)");
  t.integer("trials", &S::trials, 1, 100'000, "settings to try at most");
  t.number("budget_s", &S::budget_s, 0, 1e9, "seconds of training in all; 0 = no bound");
  t.integer("rungs", &S::rungs, 1, 10, "asha: the first at steps / eta^(rungs - 1)");
  t.integer("eta", &S::eta, 2, 10, "asha: one of so many goes on");
  t.number("weight_new", &S::weight_new, 0, 1e6, "of the loss on data.eval in the ranking");
  t.number("weight_forgetting", &S::weight_forgetting, 0, 1e6, "of the loss gained on data.keep");
  t.number("weight_seconds", &S::weight_seconds, 0, 1e6, "of a second of training");
  t.sections("space", &S::space, search_key_table(), "what is searched");
  return t;
}

Table<JobMlflow> mlflow_table() {
  Table<JobMlflow> t;
  t.text("url", &JobMlflow::url, "tracking server, http://host:port; empty = off");
  t.text("experiment", &JobMlflow::experiment, "made when it is not there");
  t.text("run_name", &JobMlflow::run_name, "empty: the job's id");
  t.boolean("artifacts", &JobMlflow::artifacts, "upload the adapter folder, too");
  return t;
}

void add_what(Table<JobSpec>& t) {
  using J = JobSpec;
  t.text("id", &J::id, "job-<seq>");
  t.text("target", &J::target, "alias it is for");
  t.path("base", &J::base, "Hugging Face snapshot folder").required();
  t.path("out", &J::out, "final adapter (PEFT folder) and metrics.jsonl").required();
  t.path("init_adapter", &J::init_adapter, "adapter to go on from");
  t.text("base_sha256", &J::base_sha256, "digest the base must have");
  t.text("tokenizer_sha256", &J::tokenizer_sha256, "digest its tokenizer must have");
  t.choice("dtype", &J::dtype, {"auto", "float32", "bfloat16"}, "auto: by the processor");
  t.choice("device", &J::device, {"auto", "cpu", "cuda", "cpu-at"},
           "auto: CUDA where there is one; cpu-at: CUDA's operations on the CPU, for tests");
  t.section("data", &J::data, data_table(),
            "exactly one of tokens, text, prompts, pairs, thumbs, chat")
      .required();
  t.path("plan", &J::plan, "JSON: steps of micro-batches of indices, instead of sampling");
  t.integer("steps", &J::steps, 0, kMost, "0 = by epochs");
  t.number("epochs", &J::epochs, 0, 1e6, "passes over the data");
}

void add_how(Table<JobSpec>& t) {
  using J = JobSpec;
  t.section("lora", &J::lora, lora_table(), "the adapter's shape");
  t.section("optimizer", &J::optimizer, optimizer_table(), "AdamW");
  t.section("schedule", &J::schedule, schedule_table(), "of the learning rate");
  t.section("loss", &J::loss, loss_table(), "the objective");
  t.section("kl", &J::kl, kl_table(), "KL(reference || model), against forgetting");
  t.section("filters", &J::filters, filters_table(), "what is left out or added before training");
  t.section("orthogonal", &J::orthogonal, orthogonal_table(), "O-LoRA (Wang et al. 2023)");
  t.section("curriculum", &J::curriculum, curriculum_table(), "order of the lines");
  t.choice("gradient_surgery", &J::gradient_surgery, {"none", "pcgrad"},
           "across the lines' tasks (Yu et al. 2020)");
  t.section("search", &J::search, search_table(), "a study over this job's settings");
  t.section("mlflow", &J::mlflow, mlflow_table(), "where the finished run is logged");
  t.boolean("checkpoint_activations", &J::checkpoint_activations,
            "recompute blocks in the backward: less memory, more time");
  t.integer("batch_sequences", &J::batch_sequences, 1, 32, "sequences a step at most");
  t.integer("batch_tokens", &J::batch_tokens, 1, 1 << 24, "tokens a step at most");
  t.integer("max_length", &J::max_length, 1, 1 << 20, "tokens of an example; longer: left out");
  t.integer("eval_every", &J::eval_every, 0, kMost, "steps; 0 = ten times a run");
  t.integer("early_stop_patience", &J::early_stop_patience, 0, kMost, "0 = off");
  t.integer("checkpoint_every_steps", &J::checkpoint_every_steps, 0, kMost, "0 = none");
  t.number("checkpoint_every_s", &J::checkpoint_every_s, 0, 1e9, "seconds");
  t.integer("save_grads_at_step", &J::save_grads_at_step, 0, kMost, "0 = never");
  t.integer("threads", &J::threads, 0, 4'096, "0 = all");
  t.integer("seed", &J::seed, 0, 9e15, "of sampling, initial weights and dropout");
  t.number("max_seconds", &J::max_seconds, 0, 1e9, "0 = no bound");
  t.integer("memory_limit_bytes", &J::memory_limit_bytes, 0, 9e15, "0 = no bound");
  t.number("peer_timeout_s", &J::peer_timeout_s, 1, 86'400,
           "data parallel: silence of a lost peer");
  t.string_map("provenance", &J::provenance, "free text into provenance.json");
}

const Section& job_section() {
  static const Section section = [] {
    Table<JobSpec> t;
    add_what(t);
    add_how(t);
    return *t.shared();
  }();
  return section;
}

}  // namespace

std::string job_yaml(const JobSpec& job) {
  return config::write_yaml(job_section(), &job, {.docs = false, .skip_empty = true});
}

namespace {

// What no single row can see; empty when the job makes sense.
std::string contradiction(const JobSpec& job) {
  const JobData& data = job.data;
  int sources = 0;
  for (const std::string* source :
       {&data.tokens, &data.text, &data.prompts, &data.pairs, &data.thumbs, &data.chat}) {
    sources += source->empty() ? 0 : 1;
  }
  if (sources != 1) {
    return "data: " + std::to_string(sources) +
           " sources; write exactly one of tokens, text, prompts, pairs, thumbs, chat";
  }
  if (job.optimizer.betas.size() != 2) return "optimizer.betas: write two numbers";
  if (job.steps == 0 && job.epochs <= 0 && job.plan.empty())
    return "steps and epochs are both 0: nothing to do";
  const bool preference = job.loss.name != "sft";
  const bool wants_pairs = job.loss.name == "dpo" || job.loss.name == "orpo";
  if (wants_pairs && data.pairs.empty()) return "loss " + job.loss.name + " needs data.pairs";
  if (preference && !wants_pairs && data.thumbs.empty())
    return "loss " + job.loss.name + " needs data.thumbs";
  if (!preference && (!data.pairs.empty() || !data.thumbs.empty()))
    return "loss sft needs data.tokens, data.text, data.prompts or data.chat";
  return {};
}

std::string option_contradiction(const JobSpec& job) {
  if (job.lora.init_lora_weights == "pissa" && !job.init_adapter.empty())
    return "lora.init_lora_weights pissa begins from the base: remove init_adapter";
  if (job.lora.init_lora_weights == "pissa" && job.lora.use_dora)
    return "lora.init_lora_weights pissa with use_dora is not supported";
  if (job.lora.freeze_first > 0 && !job.lora.layers_to_transform.empty())
    return "lora: write freeze_first or layers_to_transform, not both";
  for (const double layer : job.lora.layers_to_transform) {
    if (layer != std::floor(layer)) return "lora.layers_to_transform: whole numbers only";
  }
  if (job.orthogonal.weight > 0 && job.orthogonal.adapters.empty())
    return "orthogonal.weight without orthogonal.adapters";
  const bool text = !job.data.chat.empty() || !job.data.prompts.empty();
  if (job.filters.typos + job.filters.paraphrases > 0 && !text)
    return "filters: typos and paraphrases need data.chat or data.prompts";
  if (job.filters.paraphrases > 0 &&
      (job.filters.paraphrase_url.empty() || job.filters.paraphrase_model.empty()))
    return "filters.paraphrases needs paraphrase_url and paraphrase_model";
  if (job.search.sampler == "none") return {};
  if (job.search.space.empty()) return "search.space is empty: nothing to search";
  if (job.data.eval.empty()) return "search needs data.eval: trials are ranked by its loss";
  return {};
}

}  // namespace

Result<JobSpec> parse_job(std::string_view text, const std::string& name,
                          const std::filesystem::path& folder) {
  JobSpec job;
  TRIMTAB_CHECK_OK(config::read_document(text, name, folder, job_section(), &job));
  // `out.tmp` and the like stand beside the folder, not in it.
  while (job.out.size() > 1 && job.out.back() == '/') job.out.pop_back();
  for (std::string& adapter : job.orthogonal.adapters) {
    if (!folder.empty()) adapter = (folder / adapter).lexically_normal().string();
  }
  std::string wrong = contradiction(job);
  if (wrong.empty()) wrong = option_contradiction(job);
  if (!wrong.empty()) return fail(Code::kInvalid, name + ":1:1: " + wrong);
  for (const JobSearchKey& key : job.search.space) {
    JobSpec trial = job;
    for (const double value : key.values.empty() ? std::vector{key.low, key.high} : key.values) {
      if (auto status = set_job_number(trial, key.key, value); !status)
        return fail(Code::kInvalid, name + ":1:1: search.space: " + status.error().message);
    }
    if (key.values.empty() && (!(key.low < key.high) || (key.log && key.low <= 0))) {
      return fail(Code::kInvalid, name + ":1:1: search.space: " + key.key +
                                      ": write low < high (log: above 0), or values");
    }
  }
  return job;
}

Status set_job_number(JobSpec& job, const std::string& key, double value) {
  const Section* section = &job_section();
  void* owner = &job;
  for (std::size_t begin = 0;;) {
    const std::size_t dot = std::min(key.find('.', begin), key.size());
    const std::string word = key.substr(begin, dot - begin);
    const config::Row* row = section->find(word);
    if (row == nullptr) {
      std::vector<std::string> valid;
      for (const auto& other : section->rows) valid.push_back(other.key);
      const std::string nearest = config::nearest_word(word, valid);
      return fail(Code::kInvalid, "unknown key '" + key + "'" +
                                      (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
    }
    if (dot < key.size() && row->kind == config::Kind::kSection) {
      owner = row->child(owner);
      section = row->section.get();
      begin = dot + 1;
      continue;
    }
    if (dot < key.size() || value < row->low || value > row->high) {
      return fail(Code::kInvalid,
                  "'" + key + "' cannot be " + std::to_string(value) + ": no such place or range");
    }
    if (row->kind == config::Kind::kNumber) {
      row->store(owner, value);
    } else if (row->kind == config::Kind::kInteger) {
      row->store(owner, static_cast<std::int64_t>(std::llround(value)));
    } else if (row->kind == config::Kind::kBool) {
      row->store(owner, value != 0);
    } else {
      return fail(Code::kInvalid, "'" + key + "' is not a number");
    }
    return {};
  }
}

Result<JobSpec> load_job(const std::filesystem::path& path) {
  TRIMTAB_TRY(const auto text, read_file(path, 1U << 20));
  // Absolute, since a trial's job file lies in another folder and names the same files.
  return parse_job(text, path.string(), std::filesystem::absolute(path).parent_path());
}

std::string job_schema_json() { return config::schema_json(job_section(), "trimtab-worker train"); }

}  // namespace trimtab::retrain
