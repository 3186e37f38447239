// Calibration before arming: does this signal keep its promise on this traffic?
//
// Autocorrelation breaks every detector (AR(1) with .3 cuts the mean run 100-fold at c = 1e5). Out
// of sample: bins from one half of the reference, the other half replayed in order, then swapped;
// crossings are counted at c' = 10 .. 1000, their runs bounded from below (Poisson, 95 %), and
// theta fitted in run ~ c^theta (least squares through the origin of the logarithms, at most 1).
// theta < 1: c is raised to target^(1/theta); below `min_theta` every lag-th event is tried
// (thinning), and only when no lag helps the signal is refused, saying so (STATISTICS.md 1).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "drift/rank_e.h"

namespace trimtab::drift {

struct Calibration {
  bool armed = false;
  double theta = 1.0;
  std::int64_t thin = 1;   // every thin-th event feeds the detector
  std::string reason;      // for people: what was changed, or why it was refused
};

// The collected reference, as calibration sees it: `channels` numeric or categorical series of
// `size` events in order (1, or 32 for the embedding, whose evidence is the channels' mean).
struct CalibrationSample {
  std::size_t size = 0;
  std::size_t channels = 1;
  // Reference of one channel from the events `from, from + step, ..` below `to`.
  std::function<Reference(std::size_t channel, std::size_t from, std::size_t to, std::size_t step)>
      build;
  std::function<std::size_t(const Reference&, std::size_t channel, std::size_t event)> bin;
};

[[nodiscard]] Calibration calibrate(const CalibrationSample& sample, const RankOptions& options,
                                    double min_theta);

// The threshold in ms that keeps a target of `target_ms` when runs go as c^theta and events come
// every `gap_ms`. REQUIRES: 0 < theta <= 1.
[[nodiscard]] double raised_threshold(double target_ms, double theta, double gap_ms);

}  // namespace trimtab::drift
