// EmbeddingShift: do the text vectors since the onset still come from where the reference's came?
// Two answers for a drift report, beside the evidence that raised the alarm:
//   mmd2   squared maximum mean discrepancy with random Fourier features (Rahimi and Recht 2007):
//          |mean phi(reference) - mean phi(current)|^2, phi_j(x) = sqrt(2/D) cos(w_j'x + b_j),
//          w_j ~ N(0, I/s^2), s the median distance of pairs, D = 256; its p-value by 199
//          permutations of the two groups (Phipson and Smyth 2010: (1 + more) / 200)
//   auc    of the domain classifier (compare/domain_classifier.h) on the 32 projections: .5 when
//          nobody can tell the two apart
// Reports, never triggers: fixed-sample statistics at a moment that the data chose. Pure; seeded.
// About 60 ms for 256 + 256 vectors.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "drift/projections.h"

namespace trimtab::drift {

inline constexpr std::size_t kShiftVectors = 256;  // of the reference, and of the newest, at most

struct EmbeddingShift {
  std::size_t reference = 0;  // vectors
  std::size_t current = 0;
  double mmd2 = 0.0;
  double p_value = 1.0;
  double sigma = 0.0;         // of the kernel
  std::optional<double> auc;  // absent: too few vectors a side for five folds
};

// Empty with fewer than 8 vectors on a side.
[[nodiscard]] std::optional<EmbeddingShift> embedding_shift(
    const std::vector<const VectorRow*>& reference, const std::vector<const VectorRow*>& current,
    const Projections& projections);

}  // namespace trimtab::drift
