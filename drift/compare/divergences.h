// Distances between the shares r of the reference and c of current, over common cells (binning.h).
//   psi        sum (r - c) ln(r / c)                          credit scoring; Evidently's variant
//   kl         sum r ln(r / c), both divided by their sums    scipy.stats.entropy
//   js         the Jensen-Shannon *distance*: root of (KL(r, m) + KL(c, m)) / 2, m = (r + c) / 2;
//              natural logarithm, base=2 for bits             scipy.spatial.distance.jensenshannon
//   hellinger  sqrt(1 - sum sqrt(r c))
//   tvd        sum |r - c| / 2
//   linf       max |r - c|                                    NannyML's L-infinity
// psi and kl need positive shares: `zero=auto` puts 1e-4 for an empty share, or the least share
// / 1e6 when that is <= 1e-4 (Evidently); zero=NUMBER puts that. Nothing is renormalized for psi.
#pragma once

#include <span>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

[[nodiscard]] std::span<const WindowTest> divergences();

}  // namespace trimtab::drift
