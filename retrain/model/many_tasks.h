// What keeps tasks apart in one adapter's gradient: a penalty against earlier adapters' subspaces,
// and surgery on gradients that fight.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "retrain/model/lora.h"

namespace trimtab::model {

// O-LoRA (Wang et al. 2023, arXiv 2310.14152): lambda sum_sites ||A_earlier A^T||_F^2. The rows of
// A span what an adapter reads of its input; orthogonal rows leave the earlier adapter's answers
// be.
class OrthogonalPenalty {
 public:
  OrthogonalPenalty() = default;
  // kInvalid when an earlier adapter shares no site with `layout`.
  [[nodiscard]] static Result<OrthogonalPenalty> build(
      const LoraLayout& layout, const std::vector<std::shared_ptr<Adapter>>& earlier,
      double weight);
  // Adds the gradient to `gradients` (flat, as parameters); answers the penalty.
  [[nodiscard]] double add(const at::Tensor& parameters, at::Tensor& gradients) const;
  [[nodiscard]] bool empty() const { return pairs_.empty(); }

 private:
  struct Pair {
    Site site;
    at::Tensor earlier;  // [r', in]
  };
  double weight_ = 0;
  std::vector<Pair> pairs_;
};

// PCGrad (Yu et al. 2020, arXiv 2001.06782): each task's gradient loses its component against every
// other task's with which it conflicts (negative product), others in a seeded random order; the sum
// is returned. One gradient comes back as it is.
[[nodiscard]] at::Tensor project_conflicts(const std::vector<at::Tensor>& gradients,
                                           std::uint64_t seed);

}  // namespace trimtab::model
