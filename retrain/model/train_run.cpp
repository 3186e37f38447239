// Over 400 lines because a job, its checkpoints and its resume are one state on disk.
#include "retrain/model/train_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
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
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/many_tasks.h"
#include "retrain/model/mlflow.h"
#include "retrain/model/peers.h"
#include "retrain/model/pissa.h"
#include "retrain/model/search_run.h"
#include "retrain/model/train_corpus.h"
#include "retrain/model/train_export.h"
#include "retrain/model/train_settings.h"
#include "retrain/model/trainer.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;
using retrain::JobResult;
using retrain::JobSpec;

constexpr std::int64_t kHeartbeatMs = 2'000;  // the daemon wants one at least every 5 s

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

class TrainRun {
 public:
  TrainRun(JobSpec job, fs::path folder, const std::atomic<bool>& stop, const RunOptions& options)
      : job_(std::move(job)),
        folder_(std::move(folder)),
        stop_(stop),
        options_(options),
        start_ms_(clock_.mono_ms()) {}

  // True: finished and exported. False: interrupted, checkpoint written.
  Result<bool> run() {
    TRIMTAB_CHECK_OK(prepare());
    std::optional<HeartbeatWriter> heartbeat;
    if (peers_->first())
      heartbeat.emplace(options_.heartbeat.empty() ? folder_ / "heartbeat" : options_.heartbeat);
    TRIMTAB_TRY(const bool finished, steps(heartbeat ? &*heartbeat : nullptr));
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
      // The soft limit alone: a run that dies of it still has to say so.
      rlimit bound{};
      if (getrlimit(RLIMIT_DATA, &bound) != 0) return fail(Code::kIo, "no memory limit to be had");
      bound.rlim_cur = std::min(bound.rlim_max, static_cast<rlim_t>(job_.memory_limit_bytes));
      if (setrlimit(RLIMIT_DATA, &bound) != 0)
        return fail(Code::kIo, "cannot set the memory limit");
    }
    TRIMTAB_TRY(peers_, Peers::join(job_.peer_timeout_s));
    TRIMTAB_CHECK_OK(check_base());
    TRIMTAB_TRY(base_, Decoder::load(job_.base, {job_.dtype, job_.device}));
    decoder_ = base_;
    TRIMTAB_TRY(corpus_, read_corpus(job_, decoder_->config(), folder_));
    std::shared_ptr<Adapter> adapter;
    TRIMTAB_CHECK_OK(make_start(adapter));
    TRIMTAB_CHECK_OK(make_the_plan(*adapter));
    return make_trainer(std::move(adapter));
  }

  Status check_base() {
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
    return {};
  }

  // The adapter that training begins with, and for PiSSA the base that it begins on.
  Status make_start(std::shared_ptr<Adapter>& adapter) {
    const auto seed = static_cast<std::uint64_t>(job_.seed);
    if (!job_.init_adapter.empty()) {
      TRIMTAB_TRY(adapter, load_adapter(job_.init_adapter, *decoder_));
      if (adapter->layout.spec().use_dora && job_.lora.lora_dropout > 0)
        return fail(Code::kInvalid, "bad_job: init_adapter is a DoRA: set lora_dropout: 0");
      TRIMTAB_TRY(const std::string digest,
                  sha256_file_hex(fs::path(job_.init_adapter) / "adapter_model.safetensors"));
      inputs_digest_ += digest;
      return {};
    }
    const LoraSpec spec = lora_spec(job_, decoder_->config());
    if (job_.lora.init_lora_weights == "pissa") {
      TRIMTAB_TRY(auto start, make_pissa(spec, *base_, job_.lora.pissa_niter, seed, lanes_));
      decoder_ = start.residual;
      adapter = start.adapter;
      const ComputeScope scope;
      pissa_ = std::make_shared<Adapter>(
          Adapter{adapter->layout, adapter->parameters.clone(), adapter->dora_norms});
      return {};
    }
    TRIMTAB_TRY(adapter, make_adapter(spec, *decoder_, seed));
    return {};
  }

  Status make_the_plan(const Adapter& adapter) {
    std::vector<double> losses;
    if (job_.filters.outlier_z > 0) {
      TRIMTAB_TRY(losses, item_losses(*decoder_, &adapter, corpus_.items, lanes_));
      drop_outliers(corpus_, losses, job_.filters.outlier_z);
    }
    if (!job_.plan.empty()) {
      if (!corpus_.left_out.empty() || !corpus_.added.empty())
        return fail(Code::kInvalid,
                    "bad_job: plan counts the lines of the file, but filters, "
                    "replay_share or max_length changed them");
      TRIMTAB_TRY(plan_, read_plan(job_.plan, corpus_.items.size()));
    } else {
      const int ranks = peers_->size();
      PlanSettings how{job_.steps,
                       job_.epochs,
                       job_.batch_sequences * ranks,
                       job_.batch_tokens * ranks,
                       job_.seed,
                       lanes_ * ranks,
                       {},
                       job_.curriculum.epochs};
      if (job_.curriculum.order != "none") {
        TRIMTAB_TRY(how.difficulty, item_losses(*decoder_, &adapter, corpus_.items, lanes_));
        const double sign = job_.curriculum.order == "hard_first" ? -1.0 : 1.0;
        for (double& value : how.difficulty) value = std::isfinite(value) ? sign * value : 0.0;
      }
      plan_ = make_plan(corpus_.items, how);
    }
    if (job_.steps > 0 && static_cast<std::int64_t>(plan_.size()) > job_.steps)
      plan_.resize(static_cast<std::size_t>(job_.steps));
    std::int64_t count = 0;
    for (const Item& item : corpus_.items) count += supervised(item.example);
    if (plan_.empty() || count == 0)
      return fail(Code::kInvalid, "no_data: no supervised token in the training data");
    result.examples = static_cast<std::int64_t>(corpus_.items.size());
    result.eval_examples = static_cast<std::int64_t>(corpus_.eval.size());
    result.left_out = corpus_.left_out;
    result.added = corpus_.added;
    return {};
  }

  Status make_trainer(std::shared_ptr<Adapter> adapter) {
    TRIMTAB_TRY(TrainerSettings settings, trainer_settings(job_, lanes_));
    settings.reference = base_;
    settings.peers = peers_.get();
    if (!job_.init_adapter.empty())
      settings.layers = trained_layers(job_.lora, decoder_->config().layers);
    if (job_.orthogonal.weight > 0) {
      std::vector<std::shared_ptr<Adapter>> earlier;
      for (const std::string& path : job_.orthogonal.adapters) {
        TRIMTAB_TRY(auto loaded, load_adapter(path, *base_));
        earlier.push_back(std::move(loaded));
        TRIMTAB_TRY(const std::string digest,
                    sha256_file_hex(fs::path(path) / "adapter_model.safetensors"));
        inputs_digest_ += digest;
      }
      TRIMTAB_TRY(auto penalty,
                  OrthogonalPenalty::build(adapter->layout, earlier, job_.orthogonal.weight));
      settings.orthogonal = std::make_shared<const OrthogonalPenalty>(std::move(penalty));
    }
    TRIMTAB_TRY(auto trainer,
                Trainer::create(decoder_, std::move(adapter), corpus_.items, settings));
    trainer_.emplace(std::move(trainer));
    if (peers_->first()) {
      TRIMTAB_CHECK_OK(make_folders(folder_ / "checkpoint"));
      TRIMTAB_CHECK_OK(make_folders(temporary()));
    }
    identity_ = sha256_hex(config_digest(job_) + corpus_.digest + result.base_sha256 +
                           result.tokenizer_sha256 + inputs_digest_ + std::to_string(lanes_) + "x" +
                           std::to_string(peers_->size()));
    TRIMTAB_CHECK_OK(resume());
    return peers_->same(identity_ + std::to_string(progress_.step));
  }

  // What a kill left of an unfinished write; the lock says that nobody writes now.
  Status remove_leftovers() const {
    std::error_code ignored;
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(checkpoint_path().parent_path(), ignored)) {
      if (entry.path().filename().string().find(".tmp-") != std::string::npos)
        leftovers.push_back(entry.path());
    }
    for (const fs::path& path : leftovers) TRIMTAB_CHECK_OK(remove_tree(path));
    return {};
  }

  Status resume() {
    const fs::path path = checkpoint_path();
    if (peers_->first()) TRIMTAB_CHECK_OK(remove_leftovers());
    if (!fs::exists(path)) {
      if (peers_->first()) std::ofstream(metrics_path(), std::ios::trunc);
      return {};
    }
    TRIMTAB_TRY(const auto words, trainer_->restore(path));
    const auto identity = words.find("identity");
    if (identity == words.end() || identity->second != identity_) {
      return fail(Code::kInvalid, "checkpoint_mismatch: " + path.string() +
                                      " belongs to another job, data, base, adapter or number of "
                                      "threads; remove it to start over");
    }
    TRIMTAB_TRY(progress_, from_words(words));
    if (!peers_->first()) return {};
    TRIMTAB_CHECK_OK(cut_metrics());
    log::info("train: going on after step {} of {}", progress_.step, plan_.size());
    return {};
  }

  // Lines of steps that will be run again are dropped.
  Status cut_metrics() {
    std::string kept;
    auto content = read_file(metrics_path());
    // Killed between the export and result.json: they went with it.
    if (!content) content = read_file(fs::path(job_.out) / "metrics.jsonl");
    if (content) {
      std::istringstream in(*content);
      std::int64_t lines = 0;
      for (std::string line; lines < progress_.step && std::getline(in, line); ++lines)
        kept += line + "\n";
    }
    return write_atomic(metrics_path(), kept);
  }

  Status judge_the_start() {
    if (!corpus_.keep.empty()) {
      TRIMTAB_TRY(progress_.keep_before, judged(corpus_.keep));
    }
    if (corpus_.eval.empty()) return {};
    TRIMTAB_TRY(progress_.eval_before, judged(corpus_.eval));
    progress_.best_eval = progress_.eval_before;
    trainer_->keep_best();
    return {};
  }

  Result<bool> steps(HeartbeatWriter* heartbeat) {
    const auto total = static_cast<std::int64_t>(plan_.size());
    const std::int64_t warmup = job_.schedule.warmup_steps >= 0
                                    ? job_.schedule.warmup_steps
                                    : static_cast<std::int64_t>(std::ceil(
                                          job_.schedule.warmup_share * static_cast<double>(total)));
    const std::int64_t every =
        job_.eval_every > 0 ? job_.eval_every : std::max<std::int64_t>(1, (total + 9) / 10);
    const auto rung = std::clamp<std::int64_t>(
        std::llround(options_.stop_share * static_cast<double>(total)), 1, total);
    if (progress_.step == 0) TRIMTAB_CHECK_OK(judge_the_start());
    if (progress_.step == rung && rung < total) {  // killed between a rung and its report
      TRIMTAB_CHECK_OK(judge_the_rung());
      return false;
    }
    if (peers_->first()) log::info("train: first step begins after {:.2f} s", seconds());
    std::ofstream metrics;
    if (peers_->first()) metrics.open(metrics_path(), std::ios::app);
    last_checkpoint_ms_ = clock_.mono_ms();
    while (progress_.step < total && !progress_.early_stopped) {
      const double lr =
          job_.optimizer.lr * schedule_factor(job_.schedule.name, progress_.step, warmup, total);
      TRIMTAB_TRY(const StepReport report,
                  trainer_->step(plan_[static_cast<std::size_t>(progress_.step)], lr));
      TRIMTAB_CHECK_OK(record(report, lr, metrics, heartbeat));
      const bool last = progress_.step == total;
      if (!corpus_.eval.empty() && (last || progress_.step % every == 0)) TRIMTAB_CHECK_OK(judge());
      // What one process sees, all do.
      std::vector<double> wishes = {
          stop_.load() ? 1.0 : 0.0,
          job_.max_seconds > 0 && seconds() > job_.max_seconds ? 1.0 : 0.0};
      TRIMTAB_CHECK_OK(peers_->sum(wishes));
      const bool stop = wishes[0] > 0;
      const bool at_rung = progress_.step == rung && rung < total;
      if (stop || at_rung || (checkpoint_due() && !last)) TRIMTAB_CHECK_OK(checkpoint());
      if (at_rung) TRIMTAB_CHECK_OK(judge_the_rung());
      if (stop || at_rung) return false;
      if (wishes[1] > 0 && !last) {
        result.message = "stopped at max_seconds after step " + std::to_string(progress_.step) +
                         " of " + std::to_string(total);
        break;
      }
    }
    return true;
  }

  [[nodiscard]] bool checkpoint_due() const {
    const bool by_steps =
        job_.checkpoint_every_steps > 0 && progress_.step % job_.checkpoint_every_steps == 0;
    return by_steps || (job_.checkpoint_every_s > 0 &&
                        static_cast<double>(clock_.mono_ms() - last_checkpoint_ms_) >=
                            job_.checkpoint_every_s * 1000);
  }

  // The present parameters' losses into the result; the run's own course does not change.
  Status judge_the_rung() {
    at_rung_ = true;
    TRIMTAB_TRY(rung_eval_, judged(corpus_.eval));
    if (!corpus_.keep.empty()) {
      TRIMTAB_TRY(result.keep_loss_after, judged(corpus_.keep));
    }
    return {};
  }

  // The first process's figure, so that all decide alike.
  Result<double> judged(const std::vector<Item>& items) {
    TRIMTAB_TRY(const double loss, trainer_->evaluate(items));
    std::vector<double> values = {peers_->first() ? loss : 0.0};
    TRIMTAB_CHECK_OK(peers_->sum(values));
    return values[0];
  }

  Status record(const StepReport& report, double lr, std::ofstream& metrics,
                HeartbeatWriter* heartbeat) {
    ++progress_.step;
    progress_.tokens += report.tokens;
    progress_.supervised += report.supervised_tokens;
    run_tokens_ += report.tokens;
    progress_.last_loss = report.loss;
    if (progress_.step == 1) progress_.first_loss = report.loss;
    if (!peers_->first()) return {};
    OrderedJson line = {{"step", progress_.step},
                        {"loss", report.loss},
                        {"grad_norm", report.grad_norm},
                        {"lr", lr},
                        {"supervised_tokens", report.supervised_tokens},
                        {"tokens", report.tokens}};
    if (job_.kl.weight > 0) line["kl"] = report.kl;
    if (job_.orthogonal.weight > 0) line["orthogonal"] = report.orthogonal;
    metrics << dump_json(line) << '\n' << std::flush;
    if (!metrics)
      return fail(Code::kIo, "disk_full: " + metrics_path().string() + ": cannot write");
    heartbeat->set({progress_.step, static_cast<std::int64_t>(plan_.size()), report.loss,
                    static_cast<double>(run_tokens_) / std::max(0.001, seconds()), 0});
    if (job_.save_grads_at_step == progress_.step) {
      TRIMTAB_CHECK_OK(trainer_->save_gradients(
          temporary() / ("grads_step" + std::to_string(progress_.step) + ".safetensors")));
    }
    return {};
  }

  // Early stopping on the evaluation loss; the best parameters are what is exported.
  Status judge() {
    TRIMTAB_TRY(const double loss, judged(corpus_.eval));
    if (!std::isfinite(loss))
      return fail(Code::kInternal, "nan_loss: the evaluation loss is not finite at step " +
                                       std::to_string(progress_.step));
    log::info("train: step {} of {} loss {:.4f} eval {:.4f}", progress_.step, plan_.size(),
              progress_.last_loss, loss);
    progress_.last_eval = loss;
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
    last_checkpoint_ms_ = clock_.mono_ms();
    if (!peers_->first()) return {};
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
    // What is exported: the best parameters with early stopping, else the last.
    const double after = job_.early_stop_patience > 0 ? progress_.best_eval : progress_.last_eval;
    result.eval_loss_after =
        std::isfinite(after) ? after : std::numeric_limits<double>::quiet_NaN();
    result.early_stopped = progress_.early_stopped;
    result.keep_loss_before = progress_.keep_before;
    if (at_rung_) result.eval_loss_after = rung_eval_;
  }

  Status finish() {
    if (!corpus_.eval.empty() && job_.early_stop_patience > 0) trainer_->restore_best();
    if (!corpus_.keep.empty()) {
      TRIMTAB_TRY(result.keep_loss_after, judged(corpus_.keep));
    }
    result.status = "ok";
    result.adapter_dir = job_.out;
    if (!peers_->first()) return {};
    const Adapter* adapter = &trainer_->adapter();
    std::shared_ptr<Adapter> converted;
    if (pissa_ != nullptr) {
      TRIMTAB_TRY(converted, pissa_to_lora(*adapter, *pissa_, base_->config()));
      adapter = converted.get();
    }
    TRIMTAB_CHECK_OK(
        write_atomic(temporary() / "data_manifest.json", manifest_json(corpus_, job_)));
    TRIMTAB_CHECK_OK(export_adapter(job_, *base_, *adapter, result, corpus_.digest, temporary()));
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
    if (job_.mlflow.url.empty()) return {};
    // The adapter is there: a tracking server that is down does not undo it.
    if (auto status = log_to_mlflow(job_, result, out); !status) {
      result.message += (result.message.empty() ? "" : "; ") + status.error().message;
      log::warn("{}", status.error().message);
    }
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
  RunOptions options_;
  std::int64_t start_ms_;
  std::int64_t last_checkpoint_ms_ = 0;
  int lanes_ = 1;
  std::unique_ptr<Peers> peers_;
  std::shared_ptr<const Decoder> base_;
  std::shared_ptr<const Decoder> decoder_;  // what is trained on: the base, or PiSSA's residual
  std::shared_ptr<const Adapter> pissa_;    // PiSSA's start
  Corpus corpus_;
  std::string inputs_digest_;  // of adapters that are read
  Plan plan_;
  bool at_rung_ = false;
  double rung_eval_ = 0;
  std::optional<Trainer> trainer_;
  std::string identity_;
  Progress progress_;
  std::int64_t run_tokens_ = 0;
};

TrainEnd failed(const fs::path& folder, JobResult result, const Error& error) {
  result.status = "failed";
  result.reason = reason_of(error);
  result.message = error.message;
  if (!folder.empty()) {
    if (auto status = write_atomic(folder / "result.json", retrain::result_json(result)); !status)
      log::error("{}", status.error().message);
  }
  return {is_input_fault(result.reason) ? TrainOutcome::kBadInput : TrainOutcome::kFailed, result};
}

// The run itself; what libtorch and the allocator throw becomes a named error.
Result<bool> guarded(TrainRun& run) {
  try {
    return run.run();
  } catch (const std::bad_alloc&) {
    return fail(Code::kInternal,
                "out_of_memory: the machine or memory_limit_bytes gave no more memory");
  } catch (const std::exception& error) {  // c10::Error
    const std::string what = error.what();
    const bool memory = what.find("can't allocate memory") != std::string::npos;
    return fail(Code::kInternal,
                (memory ? "out_of_memory: " : "failed: ") + what.substr(0, what.find('\n')));
  }
}

void release_memory_limit() {
  rlimit bound{};
  if (getrlimit(RLIMIT_DATA, &bound) != 0) return;
  bound.rlim_cur = bound.rlim_max;
  (void)setrlimit(RLIMIT_DATA, &bound);
}

// Data parallel: each process has a lock of its own, and only the first speaks for the job.
std::string rank_suffix() {
  const char* size = std::getenv("WORLD_SIZE");
  const char* rank = std::getenv("RANK");
  if (size == nullptr || rank == nullptr || std::string(size) == "1") return "";
  return std::string(rank) == "0" ? "" : std::string(".rank") + rank;
}

}  // namespace

TrainEnd run_train_job(const fs::path& job_path, const std::atomic<bool>& stop,
                       const RunOptions& options) {
  const fs::path folder = fs::absolute(job_path).parent_path();
  const std::string suffix = rank_suffix();
  const fs::path speaks = suffix.empty() ? folder : fs::path();
  auto lock = FileLock::acquire(folder / ("lock" + suffix));
  if (!lock) {  // another worker lives: its result is not ours to touch
    JobResult result;
    result.status = "failed";
    result.reason = "bad_job";
    result.message = lock.error().message;
    return {TrainOutcome::kBadInput, result};
  }
  auto job = retrain::load_job(job_path);
  if (!job) return failed(speaks, {}, {Code::kInvalid, "bad_job: " + job.error().message});
  if (suffix.empty()) {
    if (auto status = remove_tree(folder / "result.json"); !status)
      return failed(speaks, {}, status.error());
  }
  JobResult result;
  if (job->search.sampler != "none" && !options.trial) {
    auto end = run_search(*job, folder, stop);
    if (!end) return failed(speaks, {}, end.error());
    result = std::move(*end);
  } else {
    TrainRun run(*job, folder, stop, options);
    const auto finished = guarded(run);
    release_memory_limit();
    if (!finished) return failed(speaks, run.result, finished.error());
    result = run.result;
    if (!*finished) {
      result.status = "interrupted";
      result.message = "stopped by a signal; run again to go on";
    }
  }
  const bool ok = result.status == "ok";
  if (!suffix.empty()) return {ok ? TrainOutcome::kOk : TrainOutcome::kInterrupted, result};
  if (auto status = write_atomic(folder / "result.json", retrain::result_json(result)); !status)
    return failed(folder, result, status.error());
  if (ok) {
    if (auto status = remove_tree(folder / "checkpoint"); !status)
      log::warn("{}", status.error().message);
  }
  return {ok ? TrainOutcome::kOk : TrainOutcome::kInterrupted, result};
}

}  // namespace trimtab::model
