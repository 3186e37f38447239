#include "retrain/model/search_run.h"

#include <fmt/format.h>

#include <cmath>
#include <sstream>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "retrain/model/train_export.h"
#include "retrain/model/train_run.h"
#include "retrain/model/train_settings.h"
#include "retrain/search.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;
using retrain::Evaluation;
using retrain::JobResult;
using retrain::JobSpec;
using retrain::Study;

OrderedJson number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson to_json(const Evaluation& e) {
  return {{"trial", e.trial},
          {"rung", e.rung},
          {"point", e.point},
          {"new_loss", number(e.new_loss)},
          {"forgetting", number(e.forgetting)},
          {"seconds", e.seconds},
          {"failure", e.failure}};
}

Result<Evaluation> from_json(const Json& json) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  Evaluation e;
  TRIMTAB_TRY(e.trial, json_get<std::int64_t>(json, "trial"));
  TRIMTAB_TRY(e.rung, json_get<std::int64_t>(json, "rung"));
  TRIMTAB_TRY(e.point, json_get<std::vector<double>>(json, "point"));
  e.new_loss = json_or(json, "new_loss", kNone);
  e.forgetting = json_or(json, "forgetting", kNone);
  TRIMTAB_TRY(e.seconds, json_get<double>(json, "seconds"));
  e.failure = json_or<std::string>(json, "failure", "");
  return e;
}

std::string named(const JobResult& result) {
  const bool already = result.message.rfind(result.reason + ":", 0) == 0;
  return already ? result.message : result.reason + ": " + result.message;
}

class SearchRun {
 public:
  SearchRun(const JobSpec& job, fs::path folder, const std::atomic<bool>& stop)
      : job_(job),
        folder_(std::move(folder)),
        stop_(stop),
        study_(job.search, static_cast<std::uint64_t>(job.seed)) {}

  Result<JobResult> run() {
    TRIMTAB_CHECK_OK(read_answers());
    for (;;) {
      const bool out_of_budget = job_.search.budget_s > 0 && spent_ >= job_.search.budget_s;
      const auto question = study_.next(out_of_budget);
      if (!question) break;
      TRIMTAB_TRY(const bool answered, answer(*question));
      if (answered) continue;
      JobResult result;
      result.status = "interrupted";
      result.message = "stopped by a signal; run again to go on with the study";
      return result;
    }
    return publish();
  }

 private:
  [[nodiscard]] fs::path file() const { return folder_ / "study.jsonl"; }
  [[nodiscard]] fs::path trial_folder(std::int64_t trial) const {
    return folder_ / "trials" / std::to_string(trial);
  }

  // The study's own settings, and those of the job that it varies.
  [[nodiscard]] std::string digest() const {
    std::string words = config_digest(job_);
    JobSpec only_search;
    only_search.search = job_.search;
    only_search.search.budget_s = 0;
    only_search.search.trials = 0;  // more of either may be given later
    return sha256_hex(words + retrain::job_yaml(only_search));
  }

  Status read_answers() {
    if (!fs::exists(file()))
      return write_atomic(file(), dump_json(OrderedJson{{"study", digest()}}) + "\n");
    TRIMTAB_TRY(const std::string content, read_file(file()));
    std::istringstream in(content);
    std::string line;
    std::getline(in, line);
    const auto head = parse_json(line);
    if (!head || json_or<std::string>(*head, "study", "") != digest()) {
      return fail(Code::kInvalid, "checkpoint_mismatch: " + file().string() +
                                      " belongs to another study; remove it to start over");
    }
    while (std::getline(in, line)) {
      const auto json = parse_json(line);
      if (!json) return fail(Code::kCorrupt, file().string() + ": a line is no JSON");
      auto evaluation = from_json(*json);
      if (!evaluation) return fail_in(file().string(), evaluation.error());
      spent_ += evaluation->failure.empty() ? json_or(*json, "run_seconds", 0.0) : 0.0;
      study_.tell(std::move(*evaluation));
    }
    return {};
  }

  // Rewritten whole and renamed, so that a line is there or not.
  Status write_answer(const Evaluation& evaluation, double run_seconds) {
    TRIMTAB_TRY(std::string content, read_file(file()));
    OrderedJson line = to_json(evaluation);
    line["run_seconds"] = run_seconds;
    return write_atomic(file(), content + dump_json(line) + "\n");
  }

  Result<JobSpec> trial_job(const Study::Question& question) const {
    JobSpec trial = job_;
    for (std::size_t i = 0; i < question.point.size(); ++i)
      TRIMTAB_CHECK_OK(retrain::set_job_number(trial, job_.search.space[i].key, question.point[i]));
    trial.search = {};
    trial.mlflow = {};
    trial.out = (trial_folder(question.trial) / "out").string();
    if (!trial.id.empty()) trial.id += "/" + std::to_string(question.trial);
    return trial;
  }

  // False: interrupted.
  Result<bool> answer(const Study::Question& question) {
    const fs::path folder = trial_folder(question.trial);
    TRIMTAB_CHECK_OK(make_folders(folder));
    TRIMTAB_TRY(const JobSpec trial, trial_job(question));
    TRIMTAB_CHECK_OK(write_atomic(folder / "job.yaml", retrain::job_yaml(trial)));
    log::info("search: trial {} rung {}: {}", question.trial, question.rung,
              words_of(question.point));
    RunOptions options;
    options.trial = true;
    options.stop_share = study_.share(question.rung);
    options.heartbeat = folder_ / "heartbeat";
    const TrainEnd end = run_train_job(folder / "job.yaml", stop_, options);
    if (stop_.load() && end.result.status != "ok") return false;
    if (end.outcome == TrainOutcome::kBadInput || end.result.reason == "disk_full" ||
        end.result.reason == "no_data" || end.result.reason == "wrong_base")
      return fail(Code::kInternal, named(end.result));
    Evaluation e{question.trial, question.rung, question.point};
    e.seconds = end.result.seconds;
    for (const Evaluation& earlier : study_.evaluations()) {
      if (earlier.trial == e.trial && earlier.rung == e.rung - 1) e.seconds += earlier.seconds;
    }
    if (end.outcome == TrainOutcome::kFailed) {
      e.failure = end.result.reason;
    } else {
      e.new_loss = end.result.eval_loss_after;
      e.forgetting = end.result.keep_loss_after - end.result.keep_loss_before;
    }
    spent_ += end.result.seconds;
    TRIMTAB_CHECK_OK(write_answer(e, end.result.seconds));
    study_.tell(e);
    // Stopped early, it is done: there is nothing that a later rung could add.
    while (end.result.status == "ok" && e.rung < study_.last_rung()) {
      ++e.rung;
      TRIMTAB_CHECK_OK(write_answer(e, 0));
      study_.tell(e);
    }
    return true;
  }

  [[nodiscard]] std::string words_of(const std::vector<double>& point) const {
    std::string words;
    for (std::size_t i = 0; i < point.size(); ++i)
      words += (i > 0 ? ", " : "") + fmt::format("{} {:.6g}", job_.search.space[i].key, point[i]);
    return words;
  }

  [[nodiscard]] std::string summary() const {
    OrderedJson keys = OrderedJson::array();
    for (const auto& key : job_.search.space) keys.push_back(key.key);
    OrderedJson trials = OrderedJson::array();
    for (const Evaluation& e : study_.evaluations()) {
      trials.push_back(to_json(e));
      trials.back()["score"] = number(study_.score(e));
    }
    OrderedJson pareto = OrderedJson::array();
    for (const Evaluation* e : study_.pareto()) pareto.push_back(e->trial);
    return dump_json(OrderedJson{{"sampler", job_.search.sampler},
                                 {"pruner", job_.search.pruner},
                                 {"seed", job_.seed},
                                 {"seconds", spent_},
                                 {"keys", keys},
                                 {"best", study_.best()->trial},
                                 {"pareto", pareto},
                                 {"evaluations", trials}},
                     2) +
           "\n";
  }

  // The best trial's folder as `out`.
  Result<JobResult> publish() {
    const Evaluation* best = study_.best();
    if (best == nullptr)
      return fail(Code::kInternal, "no_trial: no trial of the study ended with a finite loss");
    const fs::path folder = trial_folder(best->trial);
    TRIMTAB_TRY(const std::string text, read_file(folder / "result.json"));
    TRIMTAB_TRY(JobResult result, retrain::parse_result(text));
    const fs::path temporary = unfinished(job_.out);
    TRIMTAB_CHECK_OK(remove_tree(temporary));
    TRIMTAB_CHECK_OK(make_folders(temporary));
    for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) {
      const fs::path to = temporary / fs::relative(entry.path(), folder / "out");
      if (entry.is_directory()) {
        TRIMTAB_CHECK_OK(make_folders(to));
        continue;
      }
      TRIMTAB_TRY(const std::string content, read_file(entry.path(), 64ULL << 30));
      TRIMTAB_CHECK_OK(write_atomic(to, content));
    }
    TRIMTAB_CHECK_OK(write_atomic(temporary / "search.json", summary()));
    TRIMTAB_CHECK_OK(put_in_place(temporary, job_.out));
    result.adapter_dir = job_.out;
    result.seconds = spent_;
    result.message =
        fmt::format("trial {} of {} is the best: {}; {} on the Pareto list (search.json)",
                    best->trial, trials(), words_of(best->point), study_.pareto().size());
    return result;
  }

  [[nodiscard]] std::int64_t trials() const {
    std::int64_t most = 0;
    for (const Evaluation& e : study_.evaluations()) most = std::max(most, e.trial + 1);
    return most;
  }

  const JobSpec& job_;
  fs::path folder_;
  const std::atomic<bool>& stop_;
  Study study_;
  double spent_ = 0;
};

}  // namespace

Result<JobResult> run_search(const JobSpec& job, const fs::path& folder,
                             const std::atomic<bool>& stop) {
  return SearchRun(job, folder, stop).run();
}

}  // namespace trimtab::model
