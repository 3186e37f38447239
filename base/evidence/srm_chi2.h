// Sample-ratio mismatch by Pearson's chi-square: one look only (srm in bernoulli_ci.h is the one
// that may be looked at all the time). GrowthBook's checkSrm.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"

namespace trimtab::evidence {

struct SrmChi2 {
  double chi2 = 0.0;
  double p_value = 1.0;
};

// Weights are normalized to sum 1. kInvalid when sizes differ, fewer than two arms, a weight is
// not positive or nothing was counted.
[[nodiscard]] Result<SrmChi2> srm_chi2(std::span<const std::uint64_t> counts,
                                       std::span<const double> weights);

}  // namespace trimtab::evidence
