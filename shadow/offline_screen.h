// The offline screen: a cheap look before any server loads the candidate; not the proof.
//
// On the hold-out and golden set frozen before the onset: no betting evidence of harm and mean
// D >= -margin. With `ship: improve` also mean D > 0 on random-labelled records since the onset,
// capped per labelling source, so that a poisoned burst cannot approve itself. Pure function.
#pragma once

#include <span>

#include "base/result.h"
#include "shadow/plan.h"
#include "shadow/pools.h"
#include "shadow/scorer.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

struct OfflineScores {
  std::span<const ScoreResult> holdout, golden, fresh;
  bool no_past = false;  // the target never served before the onset: no hold-out is asked for
  // No label that counts since the onset: neither a hold-out nor a gain is asked for; what hold-out
  // and golden set there are must still show no harm. The shadow is advisory, the A/B decides.
  bool advisory = false;
};

// Records whose scores are missing count as absent; a stratum with none that count fails when it
// is asked for, with a message that says what to provide.
[[nodiscard]] OfflineVerdict offline_screen(const Plan& plan, const OfflineScores& scores);

}  // namespace trimtab::shadow
