// Calibration before arming: does this signal keep its promise on this traffic?
//
// Autocorrelation breaks every detector (AR(1) with .3 cuts the mean run 100-fold at c = 1e5). Out
// of sample: bins from one half of the reference, the other half replayed in order, then swapped;
// crossings are counted at c' = 5 .. 1000 (at most an eighth of the events), the last run bounded
// from below (Poisson, 95 %). Beyond it run ~ c^theta with theta = 1 / (integrated correlation time
// of the bets' scores): for sums of correlated increments the exponent of the tail falls by the
// ratio of the variance to the long-run variance. So
//   c = c'_last (target / run_last)^(1/theta), never below the target.
// (Fitting theta to the counted runs, through the origin or by the last decade's slope, reads .9 to
// .66 where it is .6, or so low that independent data pays 3 nats: 10^4 events hold too few
// crossings. With AR(1) .3 the promise of 1e4 broke for 30 to 8 of 30 references.)
// Independent data pays less than a nat for the bound. Below `min_theta` every lag-th event is
// tried (thinning), and only when no lag helps the signal is refused, saying so (STATISTICS.md 1).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "drift/rank_e.h"

namespace trimtab::drift {

struct Calibration {
  bool armed = false;
  double theta = 1.0;
  double last_threshold = 1.0;  // c'_last and the lower bound of its run, in fed events
  double last_run = 1.0;
  std::int64_t thin = 1;  // every thin-th event feeds the detector
  std::string reason;     // for people: what was changed, or why it was refused
};

// The collected reference, as calibration sees it: `channels` numeric or categorical series of
// `size` events in order (1, or 32 for the embedding, whose evidence is the channels' mean).
struct CalibrationSample {
  std::size_t size = 0;
  std::size_t channels = 1;
  // Cells of the week (seasons.h): each event is compared with its cell's reference.
  std::size_t cells = 1;
  std::function<std::size_t(std::size_t event)> cell;  // not asked while cells is 1
  // References of one channel, one a cell, from the events `from, from + step, ..` below `to`.
  std::function<std::vector<Reference>(std::size_t channel, std::size_t from, std::size_t to,
                                       std::size_t step)>
      build;
  std::function<std::size_t(const Reference&, std::size_t channel, std::size_t event)> bin;
};

[[nodiscard]] Calibration calibrate(const CalibrationSample& sample, const RankOptions& options,
                                    double min_theta);

// The threshold in ms that keeps a target of `target_ms` when the events that feed the detector
// come every `gap_ms`. REQUIRES: calibration.armed.
[[nodiscard]] double raised_threshold(const Calibration& calibration, double target_ms,
                                      double gap_ms);

}  // namespace trimtab::drift
