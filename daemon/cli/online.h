// The online half of `trimtab`: a daemon is asked over REST. Each function adds its commands to the
// app; the chosen one's work is put into `run` and done by main after parsing.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/result.h"
#include "daemon/cli/rest.h"

namespace trimtab::cli {

// Returns the exit code, or the Error that main prints on one line.
using Run = std::function<Result<int>()>;

// status, targets, trials, jobs, top, events, explain
void add_reading_commands(CLI::App& app, RestOptions& options, Run& run);
// retrain, cancel, register, promote, approve, advance, pause, resume, abort, rollback, replay,
// rereference, reload
void add_changing_commands(CLI::App& app, RestOptions& options, Run& run);
// ingest, erase, offsets reset
void add_data_commands(CLI::App& app, RestOptions& options, Run& run);
// check-config, demo: no daemon needed
void add_local_commands(CLI::App& app, RestOptions& options, Run& run);

// backtest, test: past logs through the daemon's own monitor; no daemon needed
void add_backtest_command(CLI::App& app, RestOptions& options, Run& run);
void add_test_command(CLI::App& app, RestOptions& options, Run& run);

}  // namespace trimtab::cli
