// Replay: what journaled evidence would have decided under another plan, and when (issue: `trimtab
// replay ID --set margin=.01`). The rows are the journal's pairs and closed units, in their order;
// the gates are the very ones of the daemon. Pure functions.
//
// A replay answers for the evidence that was collected: pairs that were never drawn because the
// first plan had decided, or units that never closed, are not invented.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "shadow/ab.h"
#include "shadow/plan.h"
#include "shadow/pools.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

struct ReplayPair {
  Stratum stratum = Stratum::kNew;
  std::optional<double> d;  // absent: was missing. Looked at only without `scored`
  // The scores themselves: D is made again under the plan (another `score`, another length).
  std::optional<ScoreResult> scored;
};

struct ShadowReplay {
  std::optional<std::uint64_t> ship_at, harm_at;  // 0-based index of the row that decided
  ShadowVerdict verdict;                          // after the last row
};
[[nodiscard]] ShadowReplay replay_shadow(const Plan& plan, bool no_past,
                                         std::span<const ReplayPair> rows, bool advisory = false);

struct LiveReplay {
  std::optional<std::uint64_t> ship_at, harm_at, srm_at;
  LiveVerdict verdict;
};
// `primary`: complaint | accuracy. kInvalid when the plan is bad.
[[nodiscard]] Result<LiveReplay> replay_live(const Plan& plan, const std::string& primary,
                                             std::span<const LiveAb::ClosedUnit> rows);

}  // namespace trimtab::shadow
