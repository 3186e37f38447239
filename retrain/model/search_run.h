// A study on disk: trials as jobs of their own under <job>/trials/N, answers in <job>/study.jsonl
// (one line an answer, appended and synced), the best trial's adapter as the job's `out`, and
// `out`/search.json with every trial and the Pareto list. Killed and started again it goes on: told
// answers are read back, a trial under way resumes from its checkpoint.
#pragma once

#include <atomic>
#include <filesystem>

#include "base/result.h"
#include "retrain/job.h"

namespace trimtab::model {

// REQUIRES: the caller holds the job folder's lock. status interrupted when `stop` was set.
// kInvalid "no_trial: .." when no trial ended with a finite loss.
[[nodiscard]] Result<retrain::JobResult> run_search(const retrain::JobSpec& job,
                                                    const std::filesystem::path& folder,
                                                    const std::atomic<bool>& stop);

}  // namespace trimtab::model
