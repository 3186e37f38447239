// A scripted life of one target, driven step by step with a virtual clock: one partition, records,
// feedback, commands, a trial and a training job. Effects and jobs are deterministic parts in place
// of fleet and worker; state, journal, record store and control loop are the daemon's own.
// The step to do next follows from the committed offset, so a process that was killed anywhere goes
// on where its state says.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace trimtab::daemon {

inline constexpr int kScenarioSteps = 60;

// kSupersede: the scorer fails the second trial, and a newer candidate takes its place.
enum class Scenario { kWhole, kSupersede };

// Runs until the last step is committed (or a kill point ends the process).
[[nodiscard]] Status run_scenario(const std::filesystem::path& folder,
                                  Scenario which = Scenario::kWhole);
// Everything that was committed, as text, sorted: documents, journal, blobs, decisions, offsets.
[[nodiscard]] Result<std::string> dump_state(const std::filesystem::path& folder);

}  // namespace trimtab::daemon
