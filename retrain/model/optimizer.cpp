#include "retrain/model/optimizer.h"

#include <ATen/ops/zeros.h>

#include <cmath>

#include "retrain/model/any_device.h"
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
  if (!by_kernels(parameters)) {
    m_ = beside(m_, parameters);
    v_ = beside(v_, parameters);
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, end - begin); };
    at::Tensor p = part(parameters);
    at::Tensor m = part(m_);
    at::Tensor v = part(v_);
    const at::Tensor g = part(gradients).mul(grad_scale);
    m.add_(g.sub(m).mul_(1.0 - settings_.beta1));
    v.mul_(settings_.beta2).add_(g.mul(g).mul_(1.0 - settings_.beta2));
    if (decay) p.mul_(1.0 - lr * settings_.weight_decay);
    p.sub_(m.mul(lr / correction1)
               .div_(v.sqrt().mul_(1.0 / std::sqrt(correction2)).add_(settings_.eps)));
    return;
  }
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
  if (!by_kernels(gradients)) return gradients.to(at::kDouble).norm().item<double>();
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
