// Hedged confidence sequence for the mean of values in [0, 1].
//
// All m that the two-sided betting game has not ruled out:
//     { m : max(theta K+_t(m), (1 - theta) K-_t(m)) < 1/alpha }
// with the predictable bets of paired_betting.h at alpha*theta and alpha*(1 - theta), each capped
// at c/m resp. c/(1 - m). (Waudby-Smith and Ramdas 2023, section 4.4; STATISTICS.md section 7;
// vectors/PARAMETERS.md: exact roots, no running intersection.) Covers the mean at all times with
// probability >= 1 - alpha. Memory is linear in the observations: the roots need every x.
#pragma once

#include <span>

#include "base/result.h"

namespace trimtab::evidence {

struct Interval {
  double lower = 0.0;
  double upper = 1.0;
};

struct HedgedParams {
  double alpha = 0.05;
  double theta = 0.5;  // weight of the upper game, (0, 1)
  double c = 0.5;      // truncation, (0, 1)
};

// kInvalid on an empty sample, a value outside [0, 1] or NaN, or a parameter out of range. When
// no mean at all survives (an event of probability <= alpha), both bounds are the mean that is
// ruled out least.
[[nodiscard]] Result<Interval> hedged_cs(std::span<const double> x, const HedgedParams& params);

}  // namespace trimtab::evidence
