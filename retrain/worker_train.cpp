// trimtab-worker train JOB.yaml, and search STUDY.yaml: a job with a `search` section.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>

#include "retrain/job.h"
#include "retrain/model/train_run.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

std::atomic<bool> stop_requested{false};

void on_signal(int) { stop_requested.store(true); }

struct Options {
  std::string job;
  bool json = false;
  bool schema = false;
  bool study = false;
};

Result<int> run(const Options& options) {
  if (options.schema) {
    std::printf("%s\n", job_schema_json().c_str());
    return 0;
  }
  if (options.job.empty())
    return fail(Code::kInvalid,
                options.study ? "search: which STUDY.yaml?" : "train: which JOB.yaml?");
  if (options.study) {
    TRIMTAB_TRY(const JobSpec job, load_job(options.job));
    if (job.search.sampler == "none")
      return fail(Code::kInvalid,
                  options.job + ":1:1: search.sampler: none; write random, grid or tpe");
  }
  std::signal(SIGTERM, on_signal);
  std::signal(SIGINT, on_signal);
  const auto end = model::run_train_job(options.job, stop_requested);
  if (options.json) std::printf("%s\n", result_json(end.result).c_str());
  if (end.outcome == model::TrainOutcome::kOk) return 0;
  const bool named =
      end.result.message.rfind(end.result.reason + ":", 0) == 0 || end.result.reason.empty();
  std::fprintf(stderr, "%s%s\n", named ? "" : (end.result.reason + ": ").c_str(),
               end.result.message.c_str());
  if (end.outcome == model::TrainOutcome::kInterrupted) return kExitInterrupted;
  return end.outcome == model::TrainOutcome::kBadInput ? kExitBadInput : kExitFailed;
}

}  // namespace

namespace {

Run add_job(CLI::App& app, bool study) {
  auto options = std::make_shared<Options>();
  options->study = study;
  app.add_option(study ? "STUDY" : "JOB", options->job, "The job file (YAML)");
  app.add_flag("--json", options->json, "Print result.json's object");
  app.add_flag("--schema", options->schema, "Print the job file's JSON Schema");
  return [options] { return run(*options); };
}

}  // namespace

Run add_train(CLI::App& app) { return add_job(app, false); }
Run add_search(CLI::App& app) { return add_job(app, true); }

}  // namespace trimtab::retrain
