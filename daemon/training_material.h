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
  std::vector<retrain::Example> history;  // corrections before the onset, times only; transient
  std::int64_t quarantined = 0;           // corrections in bursts that were not released
};

// Reads labels and texts. `onset_ms`: examples since then teach, earlier right ones are replayed.
// `released`: bursts that an operator let go. Fails where the store or the golden set does.
[[nodiscard]] Result<TrainingMaterial> gather_material(const config::TargetSettings& settings,
                                                       Step& step, std::int64_t onset_ms,
                                                       const std::vector<std::string>& released);

}  // namespace trimtab::daemon
