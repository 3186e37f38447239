#include "retrain/model/merge.h"

#include <ATen/ops/mm.h>

#include "retrain/model/compat.h"

namespace trimtab::model {

Result<std::shared_ptr<const Decoder>> merged(const Decoder& base, const Adapter& adapter) {
  const ComputeScope scope;
  Weights weights = base.weights();
  std::vector<std::array<bool, 4>> copied(weights.layers.size(), std::array<bool, 4>{});
  for (const Site* site : adapter.layout.sites()) {
    const auto layer = static_cast<std::size_t>(site->layer);
    const auto g = static_cast<std::size_t>(site->name.group);
    at::Tensor& weight = weights.layers[layer].weight[g];
    if (!copied[layer][g]) weight = weight.clone();
    copied[layer][g] = true;
    at::Tensor rows = weight.narrow(0, site->name.begin, site->name.end - site->name.begin);
    at::Tensor sum = rows.to(adapter.parameters.scalar_type());
    sum = sum + at::mm(adapter.b(*site), adapter.a(*site)).mul_(site->scale);
    const at::Tensor factor = adapter.dora_factor(*site);
    if (factor.defined()) sum.mul_(factor.unsqueeze(1));
    rows.copy_(sum);
  }
  return std::make_shared<const Decoder>(base.config(), std::move(weights));
}

}  // namespace trimtab::model
