#include "retrain/model/many_tasks.h"

#include <ATen/ops/mm.h>

#include <numeric>

#include "base/random.h"
#include "retrain/model/compat.h"

namespace trimtab::model {

Result<OrthogonalPenalty> OrthogonalPenalty::build(
    const LoraLayout& layout, const std::vector<std::shared_ptr<Adapter>>& earlier, double weight) {
  const ComputeScope scope;
  OrthogonalPenalty penalty;
  penalty.weight_ = weight;
  for (const auto& adapter : earlier) {
    const std::size_t before = penalty.pairs_.size();
    for (const Site* site : layout.sites()) {
      for (const Site* other : adapter->layout.sites()) {
        if (other->name.path == site->name.path)
          penalty.pairs_.push_back({*site, adapter->a(*other).clone()});
      }
    }
    if (penalty.pairs_.size() == before)
      return fail(Code::kInvalid, "orthogonal: an earlier adapter shares no module with this one");
  }
  return penalty;
}

double OrthogonalPenalty::add(const at::Tensor& parameters, at::Tensor& gradients) const {
  const ComputeScope scope;
  double total = 0;
  for (const Pair& pair : pairs_) {
    const at::Tensor overlap = at::mm(pair.earlier, lora_a(parameters, pair.site).t());
    total += weight_ * overlap.square().sum(at::kDouble).item<double>();
    lora_a(gradients, pair.site).add_(at::mm(overlap.t(), pair.earlier), 2 * weight_);
  }
  return total;
}

namespace {

double product_of(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) * b.to(at::kDouble)).sum().item<double>();
}

}  // namespace

at::Tensor project_conflicts(const std::vector<at::Tensor>& gradients, std::uint64_t seed) {
  const ComputeScope scope;
  if (gradients.size() == 1) return gradients.front().clone();
  Random random(seed);
  at::Tensor sum;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    at::Tensor mine = gradients[i].clone();
    std::vector<std::size_t> others(gradients.size());
    std::iota(others.begin(), others.end(), std::size_t{0});
    random.shuffle(others);
    for (const std::size_t j : others) {
      if (j == i) continue;
      const double product = product_of(mine, gradients[j]);
      const double square = product_of(gradients[j], gradients[j]);
      if (product < 0 && square > 0) mine.sub_(gradients[j], product / square);
    }
    sum = sum.defined() ? sum.add_(mine) : mine;
  }
  return sum;
}

}  // namespace trimtab::model
