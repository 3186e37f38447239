// What kernels.h does on the CPU by raw pointers, as tensor operations that run on any device.
//
// Taken for tensors that are not on the CPU, and for all where `any_device_everywhere()` was set
// (device `cpu-at`: the same code against the goldens without a GPU). Shapes and meaning as in
// kernels.h; views of larger rows (q inside q k v) are fine. Internal to the model.
#pragma once

#include <ATen/core/Tensor.h>

#include "retrain/model/kernels.h"

namespace trimtab::model {

// Process-wide, before the first tensor.
void any_device_everywhere(bool on);
// Whether `t` is the kernels' (a CPU tensor, and not set otherwise).
[[nodiscard]] bool by_kernels(const at::Tensor& t);
// `t` on the device of `like`.
[[nodiscard]] at::Tensor beside(const at::Tensor& t, const at::Tensor& like);

namespace any_device {

void norm(const NormShape& s, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
          at::Tensor y, at::Tensor stats);
void norm_backward(const NormShape& s, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& stats, const at::Tensor& dy, at::Tensor dx, at::Tensor dweight,
                   at::Tensor dbias);
void rope(const RopeShape& s, at::Tensor x, const at::Tensor& cosine, const at::Tensor& sine);
// lse may be undefined.
void attention(const AttentionShape& s, const at::Tensor& q, const at::Tensor& k,
               const at::Tensor& v, at::Tensor out, at::Tensor lse);
void attention_backward(const AttentionShape& s, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                        const at::Tensor& d_out, at::Tensor dq, at::Tensor dk, at::Tensor dv);
[[nodiscard]] at::Tensor activate(Activation a, bool gated, const at::Tensor& x);
[[nodiscard]] at::Tensor activate_backward(Activation a, bool gated, const at::Tensor& x,
                                           const at::Tensor& dy);
void softmax_gradient(at::Tensor logits, const at::Tensor& lse, const at::Tensor& labels,
                      const at::Tensor& weights);
// Answers KL(p || q) a row.
[[nodiscard]] at::Tensor kl_gradient(at::Tensor q_logits, const at::Tensor& q_lse,
                                     const at::Tensor& p_logits, const at::Tensor& p_lse,
                                     const at::Tensor& weights);

}  // namespace any_device
}  // namespace trimtab::model
