#include "retrain/model/train_run.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <system_error>

#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "retrain/model/heartbeat_writer.h"
#include "retrain/model/mlflow.h"
#include "retrain/model/pissa.h"
#include "retrain/model/search_run.h"
#include "retrain/model/train_export.h"
#include "retrain/model/train_prepare.h"
#include "retrain/model/train_settings.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;
using retrain::JobResult;
using retrain::JobSpec;

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
    TRIMTAB_CHECK_OK(prepare_training(job_, folder_, ready_, result));
    TRIMTAB_CHECK_OK(begin());
    std::optional<HeartbeatWriter> heartbeat;
    if (ready_.peers->first())
      heartbeat.emplace(options_.heartbeat.empty() ? folder_ / "heartbeat" : options_.heartbeat);
    TRIMTAB_TRY(const bool finished, steps(heartbeat ? &*heartbeat : nullptr));
    fill_result();
    if (!finished) return false;
    TRIMTAB_CHECK_OK(finish());
    return true;
  }

  JobResult result;

 private:
  // Folders, and the checkpoint if there is one.
  Status begin() {
    if (ready_.peers->first()) {
      TRIMTAB_CHECK_OK(make_folders(folder_ / "checkpoint"));
      TRIMTAB_CHECK_OK(make_folders(temporary()));
    }
    TRIMTAB_CHECK_OK(resume());
    return ready_.peers->same(ready_.identity + std::to_string(progress_.step));
  }

  Status resume() {
    const fs::path path = checkpoint_path();
    if (ready_.peers->first()) TRIMTAB_CHECK_OK(remove_leftovers(path.parent_path()));
    if (!fs::exists(path)) {
      if (ready_.peers->first()) std::ofstream(metrics_path(), std::ios::trunc);
      return {};
    }
    TRIMTAB_TRY(const auto words, ready_.trainer->restore(path));
    const auto identity = words.find("identity");
    if (identity == words.end() || identity->second != ready_.identity) {
      return fail(Code::kInvalid, "checkpoint_mismatch: " + path.string() +
                                      " belongs to another job, data, base, adapter or number of "
                                      "threads; remove it to start over");
    }
    TRIMTAB_TRY(progress_, from_words(words));
    if (!ready_.peers->first()) return {};
    TRIMTAB_CHECK_OK(cut_metrics());
    log::info("train: going on after step {} of {}", progress_.step, ready_.plan.size());
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
    if (!ready_.corpus.keep.empty()) {
      TRIMTAB_TRY(progress_.keep_before, judged(ready_.corpus.keep));
    }
    if (ready_.corpus.eval.empty()) return {};
    TRIMTAB_TRY(progress_.eval_before, judged(ready_.corpus.eval));
    progress_.best_eval = progress_.eval_before;
    ready_.trainer->keep_best();
    return {};
  }

  Result<bool> steps(HeartbeatWriter* heartbeat) {
    const auto total = static_cast<std::int64_t>(ready_.plan.size());
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
    if (ready_.peers->first()) log::info("train: first step begins after {:.2f} s", seconds());
    std::ofstream metrics;
    if (ready_.peers->first()) metrics.open(metrics_path(), std::ios::app);
    last_checkpoint_ms_ = clock_.mono_ms();
    while (progress_.step < total && !progress_.early_stopped) {
      const double lr =
          job_.optimizer.lr * schedule_factor(job_.schedule.name, progress_.step, warmup, total);
      TRIMTAB_TRY(const StepReport report,
                  ready_.trainer->step(ready_.plan[static_cast<std::size_t>(progress_.step)], lr));
      TRIMTAB_CHECK_OK(record(report, lr, metrics, heartbeat));
      const bool last = progress_.step == total;
      if (!ready_.corpus.eval.empty() && (last || progress_.step % every == 0))
        TRIMTAB_CHECK_OK(judge());
      // What one process sees, all do.
      std::vector<double> wishes = {
          stop_.load() ? 1.0 : 0.0,
          job_.max_seconds > 0 && seconds() > job_.max_seconds ? 1.0 : 0.0};
      TRIMTAB_CHECK_OK(ready_.peers->sum(wishes));
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
    TRIMTAB_TRY(rung_eval_, judged(ready_.corpus.eval));
    if (!ready_.corpus.keep.empty()) {
      TRIMTAB_TRY(result.keep_loss_after, judged(ready_.corpus.keep));
    }
    return {};
  }

  // The first process's figure, so that all decide alike.
  Result<double> judged(const std::vector<Item>& items) {
    TRIMTAB_TRY(const double loss, ready_.trainer->evaluate(items));
    std::vector<double> values = {ready_.peers->first() ? loss : 0.0};
    TRIMTAB_CHECK_OK(ready_.peers->sum(values));
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
    if (!ready_.peers->first()) return {};
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
    heartbeat->set({progress_.step, static_cast<std::int64_t>(ready_.plan.size()), report.loss,
                    static_cast<double>(run_tokens_) / std::max(0.001, seconds()), 0});
    if (job_.save_grads_at_step == progress_.step) {
      TRIMTAB_CHECK_OK(ready_.trainer->save_gradients(
          temporary() / ("grads_step" + std::to_string(progress_.step) + ".safetensors")));
    }
    return {};
  }

  // Early stopping on the evaluation loss; the best parameters are what is exported.
  Status judge() {
    TRIMTAB_TRY(const double loss, judged(ready_.corpus.eval));
    if (!std::isfinite(loss))
      return fail(Code::kInternal, "nan_loss: the evaluation loss is not finite at step " +
                                       std::to_string(progress_.step));
    log::info("train: step {} of {} loss {:.4f} eval {:.4f}", progress_.step, ready_.plan.size(),
              progress_.last_loss, loss);
    progress_.last_eval = loss;
    if (loss < progress_.best_eval) {
      progress_.best_eval = loss;
      progress_.bad_evals = 0;
      ready_.trainer->keep_best();
    } else if (++progress_.bad_evals >= job_.early_stop_patience && job_.early_stop_patience > 0) {
      progress_.early_stopped = true;
    }
    return {};
  }

  Status checkpoint() {
    last_checkpoint_ms_ = clock_.mono_ms();
    if (!ready_.peers->first()) return {};
    auto words = to_words(progress_);
    words["identity"] = ready_.identity;
    return ready_.trainer->save(checkpoint_path(), words);
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
    if (!ready_.corpus.eval.empty() && job_.early_stop_patience > 0) ready_.trainer->restore_best();
    if (!ready_.corpus.keep.empty()) {
      TRIMTAB_TRY(result.keep_loss_after, judged(ready_.corpus.keep));
    }
    result.status = "ok";
    result.adapter_dir = job_.out;
    if (!ready_.peers->first()) return {};
    const Adapter* adapter = &ready_.trainer->adapter();
    std::shared_ptr<Adapter> converted;
    if (ready_.pissa != nullptr) {
      TRIMTAB_TRY(converted, pissa_to_lora(*adapter, *ready_.pissa, ready_.base->config()));
      adapter = converted.get();
    }
    TRIMTAB_CHECK_OK(
        write_atomic(temporary() / "data_manifest.json", manifest_json(ready_.corpus, job_)));
    TRIMTAB_CHECK_OK(
        export_adapter(job_, *ready_.base, *adapter, result, ready_.corpus.digest, temporary()));
    TRIMTAB_TRY(result.adapter_sha256, sha256_file_hex(temporary() / "adapter_model.safetensors"));
    TRIMTAB_CHECK_OK(put_in_place(temporary(), job_.out));
    if (job_.mlflow.url.empty()) return {};
    // The adapter is there: a tracking server that is down does not undo it.
    if (auto status = log_to_mlflow(job_, result, job_.out); !status) {
      result.message += (result.message.empty() ? "" : "; ") + status.error().message;
      log::warn("{}", status.error().message);
    }
    return {};
  }

  [[nodiscard]] double seconds() const {
    return static_cast<double>(clock_.mono_ms() - start_ms_) / 1000.0;
  }
  [[nodiscard]] fs::path temporary() const { return unfinished(job_.out); }
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
  Prepared ready_;
  bool at_rung_ = false;
  double rung_eval_ = 0;
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
  } catch (const std::system_error& error) {  // a thread that found no room for its stack
    const bool memory = error.code() == std::errc::resource_unavailable_try_again ||
                        error.code() == std::errc::not_enough_memory;
    return fail(Code::kInternal,
                std::string(memory ? "out_of_memory: " : "failed: ") + error.what());
  } catch (const std::exception& error) {  // c10::Error
    const std::string what = error.what();
    const bool memory = what.find("can't allocate memory") != std::string::npos;
    return fail(Code::kInternal,
                (memory ? "out_of_memory: " : "failed: ") + what.substr(0, what.find('\n')));
  }
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
  if (auto status = check_out(job->out); !status) return failed(speaks, {}, status.error());
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
