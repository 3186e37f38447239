// One step of rank_e's sixteen fixed bets, at the vector width that the processor has.
//
// wealth <- e (wealth + dt); ln S <- max(ln S, 0) + ln e with its age; returns the weighted sum of
// the wealths. Every width gives the same bits (sums are added in one order, and the compiler may
// not contract: CMakeLists.txt), so an alarm is derived again exactly on another machine.
#pragma once

#include <cstdint>
#include <vector>

#include "drift/rank_e.h"

namespace trimtab::drift {

inline constexpr float kWealthCap = 1e30F;  // only reached where nobody restarts (reset=false)
inline constexpr std::int16_t kLeadCap = 16'384;  // e^64; with one more ln e it fits 16 bits

// `weights`: kFixedBets shares. `step`: what ages grow by, in [1, kMostAge].
using StepBets = float (*)(const BetRow& row, const float* weights, RankState& state, float dt,
                           std::int16_t step);
// All that this processor can run, the fastest first.
[[nodiscard]] std::vector<StepBets> step_bets_ways();

}  // namespace trimtab::drift
