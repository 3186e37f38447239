#include "shadow/replay.h"

#include <algorithm>

namespace trimtab::shadow {

ShadowReplay replay_shadow(const Plan& plan, bool no_past, std::span<const ReplayPair> rows,
                           bool advisory) {
  ShadowGate gate(plan, advisory, no_past);
  ShadowReplay replay;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].scored) {
      gate.add(rows[i].stratum, *rows[i].scored);
    } else {
      gate.add_difference(rows[i].stratum, rows[i].d);
    }
    replay.verdict = gate.verdict();
    if (replay.verdict.ship && !replay.ship_at) replay.ship_at = i;
    if (replay.verdict.harm && !replay.harm_at) replay.harm_at = i;
  }
  return replay;
}

Result<LiveReplay> replay_live(const Plan& plan, const std::string& primary,
                               std::span<const LiveAb::ClosedUnit> rows) {
  TRIMTAB_CHECK_OK(validate_plan(plan));
  LiveAb::Params params;
  params.plan = plan;
  params.primary = primary;
  params.label_wait_ms = std::max<std::int64_t>(plan.label_wait_ms, 1);
  LiveAb ab(params);
  LiveReplay replay;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ab.add_closed(rows[i]);
    replay.verdict = ab.verdict();
    if (replay.verdict.ship && !replay.ship_at) replay.ship_at = i;
    if (replay.verdict.harm && !replay.harm_at) replay.harm_at = i;
    const bool srm = replay.verdict.exposed.mismatch || replay.verdict.labelled.mismatch;
    if (srm && !replay.srm_at) replay.srm_at = i;
  }
  return replay;
}

}  // namespace trimtab::shadow
