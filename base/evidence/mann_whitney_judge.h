// Kayenta's canary judge: is a metric of the experiment High, Low or like the control's?
//
// Confidence interval of experiment - control by inverting the rank-sum test (normal
// approximation, ties, continuity correction, as R's wilcox.test does); the estimate is the
// Hodges-Lehmann median of the pairwise differences. High when lower > tolerance |estimate| and
// the ratio of means is >= effect_high; Low when upper < -tolerance |estimate| and the ratio is
// <= effect_low. Looks once, promises no error rate under repeated looks: advisory only.
// Source: spinnaker/kayenta a69573b. O(n m log) time.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"

namespace trimtab::evidence {

struct JudgeParams {
  double tolerance = 0.25;   // >= 0
  double confidence = 0.98;  // (0, 1)
  double effect_low = 1.0;   // allowed ratio of means before Low counts
  double effect_high = 1.0;
};

struct Judgement {
  double lower = 0.0, upper = 0.0, estimate = 0.0;
  std::string_view classification;  // High | Low | Pass | Nodata (an empty sample; numbers are 0)
};

// kInvalid on NaN or a parameter out of range.
[[nodiscard]] Result<Judgement> mann_whitney_judge(std::span<const double> experiment,
                                                   std::span<const double> control,
                                                   const JudgeParams& params);

}  // namespace trimtab::evidence
