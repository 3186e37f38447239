#include "retrain/job.h"

#include <cmath>
#include <limits>

#include "base/files.h"
#include "base/json.h"
#include "config/document.h"
#include "config/reader.h"

namespace trimtab::retrain {
namespace {

using config::Section;
using config::Table;

constexpr double kMost = 1e12;

Table<JobData> data_table() {
  Table<JobData> t;
  t.path("tokens", &JobData::tokens, "lines of {input_ids, labels}");
  t.path("pairs", &JobData::pairs, "lines of {prompt, chosen, rejected}, token ids");
  t.path("thumbs", &JobData::thumbs, "lines of {prompt, completion, good}, token ids");
  t.path("chat", &JobData::chat, "lines of {id, messages, weight, kind, kl}");
  t.path("eval", &JobData::eval, "chat lines for early stopping");
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
  return t;
}

Table<JobOptimizer> optimizer_table() {
  using O = JobOptimizer;
  Table<O> t;
  t.choice("name", &O::name, {"adamw"}, "Loshchilov and Hutter 2019");
  t.number("lr", &O::lr, 0, 10, "peak learning rate");
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
  return t;
}

Table<JobKl> kl_table() {
  Table<JobKl> t;
  t.number("weight", &JobKl::weight, 0, 1e6, "0 = off");
  t.choice("on", &JobKl::on, {"replay"}, "lines of kind replay, or with kl: true");
  t.choice("reference", &JobKl::reference, {"init_adapter", "base"}, "whose answers are kept");
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
  t.section("data", &J::data, data_table(), "exactly one of tokens, pairs, thumbs, chat")
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

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// null, absent and non-numbers alike: missing is not zero.
double number_or_nan(const Json& object, const char* key) {
  return json_or<double>(object, key, kMissing);
}

// JSON has no NaN; dump_json would write null anyway, this says so.
OrderedJson number_json(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

Status check_result(const JobResult& result) {
  if (result.status != "ok" && result.status != "failed" && result.status != "interrupted") {
    return fail(Code::kCorrupt,
                "result.json: status is '" + result.status + "', not ok, failed or interrupted");
  }
  if (result.status == "failed" && result.reason.empty()) {
    return fail(Code::kCorrupt, "result.json: status failed without a reason");
  }
  if (result.status != "ok") return {};
  if (result.adapter_dir.empty() || result.adapter_sha256.size() != 64) {
    return fail(Code::kCorrupt, "result.json: status ok without adapter_dir and adapter_sha256");
  }
  if (!std::isfinite(result.final_loss)) {
    return fail(Code::kCorrupt, "result.json: status ok without a finite final_loss");
  }
  return {};
}

}  // namespace

std::string job_yaml(const JobSpec& job) {
  return config::write_yaml(job_section(), &job, {.docs = false, .skip_empty = true});
}

Result<JobSpec> parse_job(std::string_view text, const std::string& name,
                          const std::filesystem::path& folder) {
  JobSpec job;
  TRIMTAB_CHECK_OK(config::read_document(text, name, folder, job_section(), &job));
  const auto bad = [&](const std::string& what) {
    return fail(Code::kInvalid, name + ":1:1: " + what);
  };
  int sources = 0;
  for (const std::string* source :
       {&job.data.tokens, &job.data.pairs, &job.data.thumbs, &job.data.chat}) {
    sources += source->empty() ? 0 : 1;
  }
  if (sources != 1) {
    return bad("data: " + std::to_string(sources) +
               " sources; write exactly one of tokens, pairs, thumbs, chat");
  }
  if (job.optimizer.betas.size() != 2) return bad("optimizer.betas: write two numbers");
  if (job.steps == 0 && job.epochs <= 0 && job.plan.empty()) {
    return bad("steps and epochs are both 0: nothing to do");
  }
  const bool preference = job.loss.name != "sft";
  const bool wants_pairs = job.loss.name == "dpo" || job.loss.name == "orpo";
  if (wants_pairs && job.data.pairs.empty())
    return bad("loss " + job.loss.name + " needs data.pairs");
  if (preference && !wants_pairs && job.data.thumbs.empty()) {
    return bad("loss " + job.loss.name + " needs data.thumbs");
  }
  if (!preference && (!job.data.pairs.empty() || !job.data.thumbs.empty())) {
    return bad("loss sft needs data.tokens or data.chat");
  }
  return job;
}

Result<JobSpec> load_job(const std::filesystem::path& path) {
  TRIMTAB_TRY(const auto text, read_file(path, 1U << 20));
  return parse_job(text, path.string(), path.parent_path());
}

std::string job_schema_json() { return config::schema_json(job_section(), "trimtab-worker train"); }

std::string result_json(const JobResult& r) {
  return dump_json(OrderedJson{{"status", r.status},
                               {"reason", r.reason},
                               {"message", r.message},
                               {"adapter_dir", r.adapter_dir},
                               {"adapter_sha256", r.adapter_sha256},
                               {"base_sha256", r.base_sha256},
                               {"tokenizer_sha256", r.tokenizer_sha256},
                               {"examples", r.examples},
                               {"eval_examples", r.eval_examples},
                               {"steps", r.steps},
                               {"tokens", r.tokens},
                               {"supervised_tokens", r.supervised_tokens},
                               {"seconds", number_json(r.seconds)},
                               {"tokens_per_s", number_json(r.tokens_per_s)},
                               {"first_loss", number_json(r.first_loss)},
                               {"final_loss", number_json(r.final_loss)},
                               {"eval_loss_before", number_json(r.eval_loss_before)},
                               {"eval_loss_after", number_json(r.eval_loss_after)},
                               {"early_stopped", r.early_stopped}},
                   2) +
         "\n";
}

Result<JobResult> parse_result(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kCorrupt,
                "result.json: " + (parsed ? std::string("not an object") : parsed.error().message));
  }
  const Json& j = *parsed;
  JobResult r;
  r.status = json_or<std::string>(j, "status", "");
  r.reason = json_or<std::string>(j, "reason", "");
  r.message = json_or<std::string>(j, "message", "");
  r.adapter_dir = json_or<std::string>(j, "adapter_dir", "");
  r.adapter_sha256 = json_or<std::string>(j, "adapter_sha256", "");
  r.base_sha256 = json_or<std::string>(j, "base_sha256", "");
  r.tokenizer_sha256 = json_or<std::string>(j, "tokenizer_sha256", "");
  r.examples = json_or<std::int64_t>(j, "examples", 0);
  r.eval_examples = json_or<std::int64_t>(j, "eval_examples", 0);
  r.steps = json_or<std::int64_t>(j, "steps", 0);
  r.tokens = json_or<std::int64_t>(j, "tokens", 0);
  r.supervised_tokens = json_or<std::int64_t>(j, "supervised_tokens", 0);
  r.seconds = number_or_nan(j, "seconds");
  r.tokens_per_s = number_or_nan(j, "tokens_per_s");
  r.first_loss = number_or_nan(j, "first_loss");
  r.final_loss = number_or_nan(j, "final_loss");
  r.eval_loss_before = number_or_nan(j, "eval_loss_before");
  r.eval_loss_after = number_or_nan(j, "eval_loss_after");
  r.early_stopped = json_or<bool>(j, "early_stopped", false);
  TRIMTAB_CHECK_OK(check_result(r));
  return r;
}

std::string heartbeat_json(const Heartbeat& h) {
  return dump_json(OrderedJson{{"step", h.step},
                               {"steps", h.steps},
                               {"loss", number_json(h.loss)},
                               {"tokens_per_s", number_json(h.tokens_per_s)},
                               {"ts_ms", h.ts_ms}});
}

Result<Heartbeat> parse_heartbeat(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed) return fail(Code::kCorrupt, "heartbeat: " + parsed.error().message);
  Heartbeat h;
  TRIMTAB_TRY(h.ts_ms, json_get<std::int64_t>(*parsed, "ts_ms"));
  h.step = json_or<std::int64_t>(*parsed, "step", 0);
  h.steps = json_or<std::int64_t>(*parsed, "steps", 0);
  h.loss = number_or_nan(*parsed, "loss");
  h.tokens_per_s = number_or_nan(*parsed, "tokens_per_s");
  return h;
}

}  // namespace trimtab::retrain
