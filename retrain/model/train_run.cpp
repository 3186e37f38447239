// Over 400 lines because a job, its checkpoints and its resume are one state on disk.
#include "retrain/model/train_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include "base/base_digest.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "retrain/model/decoder.h"
#include "retrain/model/train_export.h"
#include "retrain/model/trainer.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;
using retrain::JobResult;
using retrain::JobSpec;

constexpr std::int64_t kHeartbeatMs = 2'000;  // the daemon wants one at least every 5 s

// Why a job ended, by the contract's names. An Error's message that begins "name: " carries it.
std::string reason_of(const Error& error) {
  for (const char* name : {"nan_loss", "no_data", "out_of_memory", "disk_full", "wrong_base",
                           "bad_job", "checkpoint_mismatch"}) {
    if (error.message.find(std::string(name) + ":") != std::string::npos) return name;
  }
  if (error.message.find("No space left") != std::string::npos) return "disk_full";
  if (error.code == Code::kInvalid || error.code == Code::kNotFound) return "bad_job";
  if (error.code == Code::kCorrupt) return "corrupt_input";
  return "failed";
}

// Rewrites `heartbeat` from its own thread, so that a long step does not look like a hang.
class HeartbeatWriter {
 public:
  explicit HeartbeatWriter(fs::path path)
      : path_(std::move(path)), thread_([this](std::stop_token stop) { run(stop); }) {}
  void set(const retrain::Heartbeat& value) {
    const std::lock_guard lock(mutex_);
    value_ = value;
  }

 private:
  void run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      retrain::Heartbeat value;
      {
        const std::lock_guard lock(mutex_);
        value = value_;
      }
      value.ts_ms = clock_.now_ms();
      // A full disk must not end a healthy step: the step's own writes will say so.
      if (auto status = write_atomic(path_, retrain::heartbeat_json(value)); !status)
        log::warn("heartbeat: {}", status.error().message);
      clock_.sleep_ms(kHeartbeatMs, stop);
    }
  }
  SystemClock clock_;
  fs::path path_;
  std::mutex mutex_;
  retrain::Heartbeat value_{0, 0, std::numeric_limits<double>::quiet_NaN(), 0, 0};
  std::jthread thread_;
};

struct Data {
  std::vector<Item> items;
  std::vector<Item> eval;
  std::string digest;  // of every file read
};

Status add_digest(const std::string& path, std::string& all) {
  if (path.empty()) return {};
  TRIMTAB_TRY(const std::string hex, sha256_file_hex(path));
  all += hex + "\n";
  return {};
}

std::vector<Item> to_items(std::vector<ChatLine> lines) {
  std::vector<Item> items;
  for (ChatLine& line : lines) {
    items.emplace_back();
    items.back().example = std::move(line.example);
  }
  return items;
}

Result<Data> read_data(const JobSpec& job, const ModelConfig& config) {
  Data data;
  if (!job.data.tokens.empty()) {
    TRIMTAB_TRY(data.items, read_tokens(job.data.tokens, config));
  } else if (!job.data.pairs.empty()) {
    TRIMTAB_TRY(data.items, read_pairs(job.data.pairs, config));
  } else if (!job.data.thumbs.empty()) {
    TRIMTAB_TRY(data.items, read_thumbs(job.data.thumbs, config));
  }
  if (!job.data.chat.empty() || !job.data.eval.empty()) {
    TRIMTAB_TRY(const ChatCodec codec, ChatCodec::load(job.base));
    if (codec.tokenizer.vocab_size() > config.vocab) {
      return fail(Code::kInvalid,
                  job.base + ": tokenizer.json has ids beyond the vocabulary of config.json");
    }
    const std::int64_t longest = std::min(job.max_length, config.max_positions);
    std::int64_t too_long = 0;
    if (!job.data.chat.empty()) {
      TRIMTAB_TRY(auto lines, read_chat(job.data.chat, codec, longest, too_long));
      data.items = to_items(std::move(lines));
    }
    if (!job.data.eval.empty()) {
      TRIMTAB_TRY(auto lines, read_chat(job.data.eval, codec, longest, too_long));
      data.eval = to_items(std::move(lines));
    }
    if (too_long > 0)
      log::warn("train: {} lines longer than {} tokens left out", too_long, longest);
  }
  for (const std::string* path : {&job.data.tokens, &job.data.pairs, &job.data.thumbs,
                                  &job.data.chat, &job.data.eval, &job.plan}) {
    TRIMTAB_CHECK_OK(add_digest(*path, data.digest));
  }
  data.digest = sha256_hex(data.digest);
  return data;
}

// What must be the same for a checkpoint to go on: everything but paths and pacing.
std::string config_digest(JobSpec job) {
  job.out.clear();
  job.id.clear();
  job.target.clear();
  job.checkpoint_every_s = 0;
  job.checkpoint_every_steps = 0;
  job.max_seconds = 0;
  job.memory_limit_bytes = 0;
  job.provenance.clear();
  return sha256_hex(retrain::job_yaml(job));
}

Result<LossKind> loss_kind(const JobSpec& job) {
  const bool pairs = !job.data.pairs.empty();
  const bool thumbs = !job.data.thumbs.empty();
  if (job.loss.name == "sft" && !pairs && !thumbs) return LossKind::kSft;
  if (job.loss.name == "dpo" && pairs) return LossKind::kDpo;
  if (job.loss.name == "apo_zero_unpaired" && thumbs) return LossKind::kApoZeroUnpaired;
  return fail(
      Code::kInvalid,
      "bad_job: loss '" + job.loss.name +
          "' does not fit the data (sft: tokens or chat; dpo: pairs; apo_zero_unpaired: thumbs)");
}

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
  s.clip_norm = job.optimizer.clip_norm;
  s.dropout = job.lora.lora_dropout;
  s.seed = job.seed;
  s.lanes = lanes;
  return s;
}

LoraSpec lora_spec(const JobSpec& job) {
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
  return spec;
}

// The state of one run beyond the trainer's: what a checkpoint keeps in words.
struct Progress {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::int64_t supervised = 0;
  double first_loss = std::numeric_limits<double>::quiet_NaN();
  double last_loss = std::numeric_limits<double>::quiet_NaN();
  double eval_before = std::numeric_limits<double>::quiet_NaN();
  double best_eval = std::numeric_limits<double>::infinity();
  std::int64_t bad_evals = 0;
  bool early_stopped = false;
};

std::string exact(double value) {  // hexadecimal: the same double comes back
  std::ostringstream out;
  out << std::hexfloat << value;
  return out.str();
}

std::map<std::string, std::string> to_words(const Progress& p) {
  return {{"step", std::to_string(p.step)},
          {"tokens", std::to_string(p.tokens)},
          {"supervised", std::to_string(p.supervised)},
          {"first_loss", exact(p.first_loss)},
          {"last_loss", exact(p.last_loss)},
          {"eval_before", exact(p.eval_before)},
          {"best_eval", exact(p.best_eval)},
          {"bad_evals", std::to_string(p.bad_evals)},
          {"early_stopped", p.early_stopped ? "1" : "0"}};
}

Progress from_words(const std::map<std::string, std::string>& words) {
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
  p.best_eval = number("best_eval");
  p.bad_evals = count("bad_evals");
  p.early_stopped = words.at("early_stopped") == "1";
  return p;
}

class TrainRun {
 public:
  TrainRun(JobSpec job, fs::path folder, const std::atomic<bool>& stop)
      : job_(std::move(job)),
        folder_(std::move(folder)),
        stop_(stop),
        start_ms_(clock_.mono_ms()) {}

  // True: finished and exported. False: interrupted, checkpoint written.
  Result<bool> run() {
    TRIMTAB_CHECK_OK(prepare());
    HeartbeatWriter heartbeat(folder_ / "heartbeat");
    TRIMTAB_TRY(const bool finished, steps(heartbeat));
    fill_result();
    if (!finished) return false;
    TRIMTAB_CHECK_OK(finish());
    return true;
  }

  JobResult result;

 private:
  Status prepare() {
    lanes_ = static_cast<int>(job_.threads > 0 ? job_.threads
                                               : std::max(1U, std::thread::hardware_concurrency()));
    prepare_process(1);
    if (job_.memory_limit_bytes > 0) {
      const auto limit = static_cast<rlim_t>(job_.memory_limit_bytes);
      const rlimit bound{limit, limit};
      if (setrlimit(RLIMIT_DATA, &bound) != 0)
        return fail(Code::kIo, "cannot set the memory limit");
    }
    if (job_.device == "cuda")
      return fail(Code::kInvalid, "bad_job: device cuda: this build's libtorch has no CUDA");
    TRIMTAB_TRY(result.base_sha256, base_digest(job_.base));
    if (fs::exists(fs::path(job_.base) / "tokenizer.json")) {
      TRIMTAB_TRY(result.tokenizer_sha256, tokenizer_digest(job_.base));
    }
    if (!job_.base_sha256.empty() && job_.base_sha256 != result.base_sha256) {
      return fail(Code::kInvalid, "wrong_base: " + job_.base + " has digest " + result.base_sha256 +
                                      ", the job wants " + job_.base_sha256);
    }
    if (!job_.tokenizer_sha256.empty() && job_.tokenizer_sha256 != result.tokenizer_sha256) {
      return fail(Code::kInvalid, "wrong_base: tokenizer.json of " + job_.base +
                                      " is not the one that the job wants");
    }
    TRIMTAB_TRY(decoder_, Decoder::load(job_.base, {job_.dtype, "cpu"}));
    TRIMTAB_TRY(data_, read_data(job_, decoder_->config()));
    TRIMTAB_CHECK_OK(make_the_plan());
    return make_trainer();
  }

  Status make_the_plan() {
    if (!job_.plan.empty()) {
      TRIMTAB_TRY(plan_, read_plan(job_.plan, data_.items.size()));
    } else {
      plan_ = make_plan(data_.items, {job_.steps, job_.epochs, job_.batch_sequences,
                                      job_.batch_tokens, job_.seed, lanes_});
    }
    if (job_.steps > 0 && static_cast<std::int64_t>(plan_.size()) > job_.steps)
      plan_.resize(static_cast<std::size_t>(job_.steps));
    std::int64_t count = 0;
    for (const Item& item : data_.items) count += supervised(item.example);
    if (plan_.empty() || count == 0)
      return fail(Code::kInvalid, "no_data: no supervised token in the training data");
    result.examples = static_cast<std::int64_t>(data_.items.size());
    result.eval_examples = static_cast<std::int64_t>(data_.eval.size());
    return {};
  }

  Status make_trainer() {
    std::shared_ptr<Adapter> adapter;
    if (job_.init_adapter.empty()) {
      TRIMTAB_TRY(adapter,
                  make_adapter(lora_spec(job_), *decoder_, static_cast<std::uint64_t>(job_.seed)));
    } else {
      TRIMTAB_TRY(adapter, load_adapter(job_.init_adapter, *decoder_));
    }
    TRIMTAB_TRY(const TrainerSettings settings, trainer_settings(job_, lanes_));
    TRIMTAB_TRY(auto trainer, Trainer::create(decoder_, std::move(adapter), data_.items, settings));
    trainer_.emplace(std::move(trainer));
    TRIMTAB_CHECK_OK(make_folders(folder_ / "checkpoint"));
    TRIMTAB_CHECK_OK(make_folders(temporary()));
    identity_ = sha256_hex(config_digest(job_) + data_.digest + result.base_sha256 +
                           std::to_string(lanes_));
    return resume();
  }

  Status resume() {
    const fs::path path = checkpoint_path();
    if (!fs::exists(path)) {
      std::ofstream(metrics_path(), std::ios::trunc);
      return {};
    }
    TRIMTAB_TRY(const auto words, trainer_->restore(path));
    const auto identity = words.find("identity");
    if (identity == words.end() || identity->second != identity_) {
      return fail(
          Code::kInvalid,
          "checkpoint_mismatch: " + path.string() +
              " belongs to another job, data, base or thread count; remove it to start over");
    }
    progress_ = from_words(words);
    TRIMTAB_CHECK_OK(cut_metrics());
    log::info("train: going on after step {} of {}", progress_.step, plan_.size());
    return {};
  }

  // Lines of steps that will be run again are dropped.
  Status cut_metrics() {
    std::string kept;
    if (const auto content = read_file(metrics_path())) {
      std::istringstream in(*content);
      std::int64_t lines = 0;
      for (std::string line; lines < progress_.step && std::getline(in, line); ++lines)
        kept += line + "\n";
    }
    return write_atomic(metrics_path(), kept);
  }

  Result<bool> steps(HeartbeatWriter& heartbeat) {
    const auto total = static_cast<std::int64_t>(plan_.size());
    const std::int64_t warmup = job_.schedule.warmup_steps >= 0
                                    ? job_.schedule.warmup_steps
                                    : static_cast<std::int64_t>(std::ceil(
                                          job_.schedule.warmup_share * static_cast<double>(total)));
    const std::int64_t every =
        job_.eval_every > 0 ? job_.eval_every : std::max<std::int64_t>(1, (total + 9) / 10);
    if (progress_.step == 0 && !data_.eval.empty()) {
      TRIMTAB_TRY(progress_.eval_before, trainer_->evaluate(data_.eval));
      progress_.best_eval = progress_.eval_before;
      trainer_->keep_best();
    }
    std::ofstream metrics(metrics_path(), std::ios::app);
    std::int64_t last_checkpoint_ms = clock_.mono_ms();
    while (progress_.step < total && !progress_.early_stopped) {
      const double lr =
          job_.optimizer.lr * schedule_factor(job_.schedule.name, progress_.step, warmup, total);
      TRIMTAB_TRY(const StepReport report,
                  trainer_->step(plan_[static_cast<std::size_t>(progress_.step)], lr));
      TRIMTAB_CHECK_OK(record(report, lr, metrics, heartbeat));
      const bool last = progress_.step == total;
      if (!data_.eval.empty() && (last || progress_.step % every == 0)) TRIMTAB_CHECK_OK(judge());
      const bool over_time = job_.max_seconds > 0 && seconds() > job_.max_seconds;
      const bool due =
          (job_.checkpoint_every_steps > 0 && progress_.step % job_.checkpoint_every_steps == 0) ||
          (job_.checkpoint_every_s > 0 &&
           static_cast<double>(clock_.mono_ms() - last_checkpoint_ms) >=
               job_.checkpoint_every_s * 1000);
      if (stop_.load() || (due && !last)) {
        TRIMTAB_CHECK_OK(checkpoint());
        last_checkpoint_ms = clock_.mono_ms();
      }
      if (stop_.load()) return false;
      if (over_time && !last) {
        result.message = "stopped at max_seconds after step " + std::to_string(progress_.step) +
                         " of " + std::to_string(total);
        break;
      }
    }
    return true;
  }

  Status record(const StepReport& report, double lr, std::ofstream& metrics,
                HeartbeatWriter& heartbeat) {
    ++progress_.step;
    progress_.tokens += report.tokens;
    progress_.supervised += report.supervised_tokens;
    run_tokens_ += report.tokens;
    progress_.last_loss = report.loss;
    if (progress_.step == 1) progress_.first_loss = report.loss;
    OrderedJson line = {{"step", progress_.step},
                        {"loss", report.loss},
                        {"grad_norm", report.grad_norm},
                        {"lr", lr},
                        {"supervised_tokens", report.supervised_tokens},
                        {"tokens", report.tokens}};
    if (job_.kl.weight > 0) line["kl"] = report.kl;
    metrics << dump_json(line) << '\n' << std::flush;
    if (!metrics)
      return fail(Code::kIo, "disk_full: " + metrics_path().string() + ": cannot write");
    heartbeat.set({progress_.step, static_cast<std::int64_t>(plan_.size()), report.loss,
                   static_cast<double>(run_tokens_) / std::max(0.001, seconds()), 0});
    if (job_.save_grads_at_step == progress_.step) {
      TRIMTAB_CHECK_OK(trainer_->save_gradients(
          temporary() / ("grads_step" + std::to_string(progress_.step) + ".safetensors")));
    }
    return {};
  }

  // Early stopping on the evaluation loss; the best parameters are what is exported.
  Status judge() {
    TRIMTAB_TRY(const double loss, trainer_->evaluate(data_.eval));
    if (!std::isfinite(loss))
      return fail(Code::kInternal, "nan_loss: the evaluation loss is not finite at step " +
                                       std::to_string(progress_.step));
    log::info("train: step {} of {} loss {:.4f} eval {:.4f}", progress_.step, plan_.size(),
              progress_.last_loss, loss);
    if (loss < progress_.best_eval) {
      progress_.best_eval = loss;
      progress_.bad_evals = 0;
      trainer_->keep_best();
    } else if (++progress_.bad_evals >= job_.early_stop_patience && job_.early_stop_patience > 0) {
      progress_.early_stopped = true;
    }
    return {};
  }

  Status checkpoint() {
    auto words = to_words(progress_);
    words["identity"] = identity_;
    return trainer_->save(checkpoint_path(), words);
  }

  void fill_result() {
    result.steps = progress_.step;
    result.tokens = progress_.tokens;
    result.supervised_tokens = progress_.supervised;
    result.seconds = seconds();
    result.tokens_per_s = static_cast<double>(run_tokens_) / std::max(0.001, result.seconds);
    result.first_loss = progress_.first_loss;
    result.final_loss = progress_.last_loss;
    result.eval_loss_before = progress_.eval_before;
    result.eval_loss_after = std::isfinite(progress_.best_eval)
                                 ? progress_.best_eval
                                 : std::numeric_limits<double>::quiet_NaN();
    result.early_stopped = progress_.early_stopped;
  }

  Status finish() {
    if (!data_.eval.empty() && job_.early_stop_patience > 0) trainer_->restore_best();
    TRIMTAB_CHECK_OK(
        export_adapter(job_, *decoder_, trainer_->adapter(), result, data_.digest, temporary()));
    TRIMTAB_TRY(result.adapter_sha256, sha256_file_hex(temporary() / "adapter_model.safetensors"));
    const fs::path out = job_.out;
    if (fs::exists(out)) {
      const fs::path old = out.string() + ".old";
      TRIMTAB_CHECK_OK(remove_tree(old));
      TRIMTAB_CHECK_OK(rename_durable(out, old));
      TRIMTAB_CHECK_OK(rename_durable(temporary(), out));
      TRIMTAB_CHECK_OK(remove_tree(old));
    } else {
      TRIMTAB_CHECK_OK(rename_durable(temporary(), out));
    }
    result.adapter_dir = out.string();
    result.status = "ok";
    return {};
  }

  [[nodiscard]] double seconds() const {
    return static_cast<double>(clock_.mono_ms() - start_ms_) / 1000.0;
  }
  [[nodiscard]] fs::path temporary() const { return job_.out + ".tmp"; }
  [[nodiscard]] fs::path metrics_path() const { return temporary() / "metrics.jsonl"; }
  [[nodiscard]] fs::path checkpoint_path() const {
    return folder_ / "checkpoint" / "state.safetensors";
  }

  SystemClock clock_;
  JobSpec job_;
  fs::path folder_;
  const std::atomic<bool>& stop_;
  std::int64_t start_ms_;
  int lanes_ = 1;
  std::shared_ptr<const Decoder> decoder_;
  Data data_;
  Plan plan_;
  std::optional<Trainer> trainer_;
  std::string identity_;
  Progress progress_;
  std::int64_t run_tokens_ = 0;
};

TrainEnd failed(const fs::path& folder, JobResult result, const Error& error) {
  result.status = "failed";
  result.reason = reason_of(error);
  result.message = error.message;
  if (auto status = write_atomic(folder / "result.json", retrain::result_json(result)); !status) {
    log::error("{}", status.error().message);
  }
  const bool input = result.reason == "bad_job" || result.reason == "corrupt_input";
  return {input ? TrainOutcome::kBadInput : TrainOutcome::kFailed, result};
}

}  // namespace

TrainEnd run_train_job(const fs::path& job_path, const std::atomic<bool>& stop) {
  const fs::path folder = fs::absolute(job_path).parent_path();
  auto lock = FileLock::acquire(folder / "lock");
  if (!lock) {  // another worker lives: its result is not ours to touch
    JobResult result;
    result.status = "failed";
    result.reason = "bad_job";
    result.message = lock.error().message;
    return {TrainOutcome::kBadInput, result};
  }
  auto job = retrain::load_job(job_path);
  if (!job) return failed(folder, {}, {Code::kInvalid, "bad_job: " + job.error().message});
  if (auto status = remove_tree(folder / "result.json"); !status)
    return failed(folder, {}, status.error());
  TrainRun run(*job, folder, stop);
  try {
    const auto finished = run.run();
    if (!finished) return failed(folder, run.result, finished.error());
    if (!*finished)
      run.result.status = "interrupted",
      run.result.message = "stopped by a signal; run again to go on";
  } catch (const std::bad_alloc&) {
    return failed(
        folder, run.result,
        {Code::kInternal, "out_of_memory: the machine or memory_limit_bytes gave no more memory"});
  } catch (const std::exception& error) {  // c10::Error
    const std::string what = error.what();
    const bool memory = what.find("can't allocate memory") != std::string::npos;
    return failed(folder, run.result,
                  {Code::kInternal,
                   (memory ? "out_of_memory: " : "failed: ") + what.substr(0, what.find('\n'))});
  }
  if (auto status = write_atomic(folder / "result.json", retrain::result_json(run.result));
      !status) {
    return failed(folder, run.result, status.error());
  }
  const bool ok = run.result.status == "ok";
  if (ok) {
    if (auto status = remove_tree(folder / "checkpoint"); !status)
      log::warn("{}", status.error().message);
  }
  return {ok ? TrainOutcome::kOk : TrainOutcome::kInterrupted, run.result};
}

}  // namespace trimtab::model
