// Attribution: which bins moved, and by how much, from the same counts the detector saw.
//
// PSI = sum (c - r) ln(c / r) with empty shares as 1e-4 (Evidently's rule); JS = the
// Jensen-Shannon *distance*, natural log; KS = the largest difference of the cumulated shares over
// ordered bins (missing left out): a lower bound of the sample's KS. Wasserstein = the area between
// the two cumulated shares over the inner bins, straight within a bin; the two outer bins have no
// width, so what happens inside them is left out.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "drift/alarm.h"
#include "drift/rank_e.h"

namespace trimtab::drift {

struct BinDistances {
  double psi = 0.0;
  double js = 0.0;
  double ks = 0.0;
  std::optional<double> wasserstein;  // ordered references with two edges or more
};

// REQUIRES: counts.size() == reference.bins().
[[nodiscard]] BinDistances bin_distances(const Reference& reference,
                                         std::span<const std::int64_t> counts);

// Shares and log wealth a bin, for the bet that leads.
[[nodiscard]] std::vector<BinShare> bin_shares(const RankBets& bets, const RankState& state,
                                               std::span<const std::int64_t> counts);

}  // namespace trimtab::drift
