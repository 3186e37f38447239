// Which arm has the best mean, and may one stop? The generalized likelihood ratio stopping rule
// (Garivier and Kaufmann 2016), as TensorZero's check_stopping computes it.
//
// With the leader l (largest mean): Z = min over j != l of
//     (mean_l - mean_j + epsilon)^2 / (2 (variance_l/n_l + variance_j/n_j)),
// stop when Z > ln((1 + ln sum n)/delta); then l is within epsilon of the best with probability
// about 1 - delta (a heuristic threshold: advisory).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"

namespace trimtab::evidence {

struct ArmSummary {
  std::uint64_t n = 0;
  double mean = 0.0;
  double variance = 0.0;
};

struct BestArm {
  double value = 0.0;
  double threshold = 0.0;
  bool stop = false;
  std::optional<std::size_t> arm;  // present when stop
};

// kInvalid with fewer than two arms, an arm without observations, a variance that is not positive
// or a parameter out of range.
[[nodiscard]] Result<BestArm> glr_best_arm(std::span<const ArmSummary> arms, double delta,
                                           double epsilon);

}  // namespace trimtab::evidence
