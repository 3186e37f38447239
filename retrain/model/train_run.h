// One training job from job.yaml to result.json: lock, heartbeat, checkpoints, resume, early
// stopping, export. The numerics are trainer.h's.
//
// The job folder is the job file's: `lock` (flock held while alive), `heartbeat`, `checkpoint/`,
// the adapter (built in `<out>.tmp`, synced, renamed) and last `result.json`, atomically.
// Killed at any moment and started again, it goes on from the last checkpoint, and the final
// adapter is byte-identical to an uninterrupted run's with the same threads.
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

// `stop` (set by a signal handler): checkpoint after the step at hand and end as kInterrupted.
[[nodiscard]] TrainEnd run_train_job(const std::filesystem::path& job_path,
                                     const std::atomic<bool>& stop);

}  // namespace trimtab::model
