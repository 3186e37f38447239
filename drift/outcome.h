// Outcome: one bounded outcome for the harm detectors: a matched label, a closed unit's complaint
// flag, a judge's score, an error.
//
// Control makes them: `label_loss` = 1 - score of a random-selected label (or of any label, by
// config) when it is matched to its record; `complaint` = 1 or 0 for every unit when it closes at
// ts + W (so that a missing label never reads as a good one); `error`, `refusal` = 0/1 a record.
#pragma once

#include <cstdint>

#include "drift/observation.h"

namespace trimtab::drift {

struct Outcome {
  std::int64_t ts_ms = 0;    // event time of the record (or the unit's close)
  std::uint64_t offset = 0;  // running number of the record, for the onset
  std::size_t metric = 0;    // index into Monitor::harm_metrics()
  double value = 0.0;        // in [0, 1], 1 = bad; anything else is refused and counted
  RecordId id;
};

}  // namespace trimtab::drift
