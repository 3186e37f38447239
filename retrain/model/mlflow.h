// A finished run in MLflow, through its REST API (2.0): experiment, run, parameters, the metrics of
// every step, and the adapter folder as artifacts where the server proxies them
// (mlflow-artifacts:). Source: https://mlflow.org/docs/latest/rest-api.html
#pragma once

#include <filesystem>

#include "base/result.h"
#include "retrain/job.h"

namespace trimtab::model {

// `out`: the exported folder. kUnavailable "mlflow: .." with the call that failed.
[[nodiscard]] Status log_to_mlflow(const retrain::JobSpec& job, const retrain::JobResult& result,
                                   const std::filesystem::path& out);

}  // namespace trimtab::model
