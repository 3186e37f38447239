// One training job from job.yaml to result.json: lock, heartbeat, checkpoints, resume, early
// stopping, export. The numerics are trainer.h's.
//
// The job folder is the job file's: `lock` (flock held while alive), `heartbeat`, `checkpoint/`,
// the adapter (built in `<out>.tmp`, synced, renamed) and last `result.json`, atomically.
// Killed at any moment and started again, it goes on from the last checkpoint, and the final
// adapter is byte-identical to an uninterrupted run's with the same threads. In data parallel
// (peers.h) every process has the same job folder; rank 0 alone writes there.
#pragma once

#include <atomic>
#include <filesystem>

#include "retrain/job.h"

namespace trimtab::model {

enum class TrainOutcome { kOk, kBadInput, kFailed, kInterrupted };

struct TrainEnd {
  TrainOutcome outcome = TrainOutcome::kFailed;
  retrain::JobResult result;  // as written to result.json
};

struct RunOptions {
  double stop_share = 1.0;  // of the steps: a rung of a search, where the job checkpoints and ends
                            // as interrupted, with its losses in the result
  bool trial = false;       // one run of a study: the job's `search` is not looked at
  std::filesystem::path heartbeat;  // where to write it; empty: the job's folder
};

// A job with search.sampler runs a study (search_run.h). `stop` (set by a signal handler):
// checkpoint after the step at hand and end as kInterrupted.
[[nodiscard]] TrainEnd run_train_job(const std::filesystem::path& job_path,
                                     const std::atomic<bool>& stop, const RunOptions& options = {});

}  // namespace trimtab::model
