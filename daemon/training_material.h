// What a job would be trained on, before curation: labels of training units since the onset, and a
// replay of earlier right answers, with their texts from the record store.
// Control thread, inside the step that decides on a job.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/settings.h"
#include "daemon/step.h"
#include "retrain/curation.h"

namespace trimtab::daemon {

struct TrainingMaterial {
  retrain::CurationInputs inputs;
  std::int64_t quarantined = 0;  // corrections in bursts that were not released
};

struct HeldBack {
  std::vector<retrain::Burst> bursts;
  std::int64_t corrections = 0;  // in them, of records since the onset
};

// The bursts among all corrections that training may use; no text is read. What is usual is told
// by those before the onset, too.
[[nodiscard]] Result<HeldBack> find_held_back(const config::TargetSettings& settings, Step& step,
                                              std::int64_t onset_ms,
                                              const std::vector<std::string>& released);

// Reads labels and texts. `onset_ms`: examples since then teach, earlier right ones are replayed.
// `released`: bursts that an operator let go. Fails where the store or the golden set does.
[[nodiscard]] Result<TrainingMaterial> gather_material(const config::TargetSettings& settings,
                                                       Step& step, std::int64_t onset_ms,
                                                       const std::vector<std::string>& released);

}  // namespace trimtab::daemon
