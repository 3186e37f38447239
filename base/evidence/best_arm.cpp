#include "base/evidence/best_arm.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trimtab::evidence {

Result<BestArm> glr_best_arm(std::span<const ArmSummary> arms, double delta, double epsilon) {
  if (arms.size() < 2) return fail(Code::kInvalid, "glr_best_arm: needs at least two arms");
  if (!(delta > 0.0 && delta < 1.0)) return fail(Code::kInvalid, "delta: must be in (0, 1)");
  if (!(epsilon >= 0.0) || !std::isfinite(epsilon)) {
    return fail(Code::kInvalid, "epsilon: must be 0 or more");
  }
  double total = 0.0;
  std::size_t leader = 0;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].n == 0 || !std::isfinite(arms[i].mean) || !(arms[i].variance > 0.0) ||
        !std::isfinite(arms[i].variance)) {
      return fail(Code::kInvalid,
                  "glr_best_arm: every arm needs n >= 1, a mean and a positive variance");
    }
    total += static_cast<double>(arms[i].n);
    if (arms[i].mean > arms[leader].mean) leader = i;
  }
  const auto variance_of_mean = [&](std::size_t i) {
    return arms[i].variance / static_cast<double>(arms[i].n);
  };
  BestArm found;
  found.value = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (i == leader) continue;
    const double gap = arms[leader].mean - arms[i].mean + epsilon;
    found.value =
        std::min(found.value, gap * gap / (2.0 * (variance_of_mean(leader) + variance_of_mean(i))));
  }
  found.threshold = std::log((1.0 + std::log(total)) / delta);
  found.stop = found.value > found.threshold;
  if (found.stop) found.arm = leader;
  return found;
}

}  // namespace trimtab::evidence
