// The job file of a training job: the target's settings in the worker's words. Pure.
#pragma once

#include <filesystem>

#include "config/settings.h"
#include "daemon/job_runner.h"
#include "retrain/curation.h"
#include "retrain/job.h"
#include "shadow/adapter_ref.h"

namespace trimtab::daemon {

// `folder`: the job's own; the adapter comes out in its out/.
[[nodiscard]] retrain::JobSpec job_spec(const config::TargetSettings& settings,
                                        const std::filesystem::path& folder, const Job& job,
                                        const shadow::AdapterRef& champion,
                                        const retrain::DataFiles& files);

}  // namespace trimtab::daemon
