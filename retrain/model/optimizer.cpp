#include "retrain/model/optimizer.h"

#include <ATen/ops/zeros.h>

#include <cmath>

#include "retrain/model/compat.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {

AdamW::AdamW(std::int64_t parameters, AdamSettings settings, at::ScalarType type)
    : settings_(settings) {
  const ComputeScope scope;
  m_ = at::zeros({parameters}, type);
  v_ = at::zeros({parameters}, type);
}

void AdamW::update(at::Tensor& parameters, const at::Tensor& gradients, std::int64_t begin,
                   std::int64_t end, double lr, double grad_scale, bool decay) {
  const auto t = static_cast<double>(step_);
  const double correction1 = 1.0 - std::pow(settings_.beta1, t);
  const double correction2 = 1.0 - std::pow(settings_.beta2, t);
  by_type(parameters, [&](auto zero) {
    using T = decltype(zero);
    const auto as = [](double value) { return static_cast<T>(value); };
    kernels<T>().adamw(
        end - begin, ptr<T>(parameters) + begin, ptr<T>(gradients) + begin, ptr<T>(m_) + begin,
        ptr<T>(v_) + begin, as(lr), as(settings_.beta1), as(settings_.beta2), as(settings_.eps),
        as(decay ? settings_.weight_decay : 0.0), as(correction1), as(correction2), as(grad_scale));
  });
}

double gradient_norm(const at::Tensor& gradients) {
  return by_type(gradients, [&](auto zero) {
    using T = decltype(zero);
    const T* values = ptr<T>(gradients);
    double sum = 0;
    for (std::int64_t i = 0; i < gradients.numel(); ++i)
      sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return std::sqrt(sum);
  });
}

}  // namespace trimtab::model
