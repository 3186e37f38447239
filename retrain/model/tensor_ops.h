// Thin calls from tensors to kernels and GEMMs, dispatched on float or double. Internal to the
// model.
#pragma once

#include <ATen/core/Tensor.h>

#include "retrain/model/decoder.h"
#include "retrain/model/kernels.h"

namespace trimtab::model {

// x [n, in] times w [out, in] transposed, plus bias; a bf16 weight takes x in bf16 and answers in
// x's type.
[[nodiscard]] at::Tensor project(const at::Tensor& x, const at::Tensor& w,
                                 const at::Tensor& bias = {});
// dy [n, out] times w [out, in].
[[nodiscard]] at::Tensor project_gradient(const at::Tensor& dy, const at::Tensor& w);

struct NormResult {
  at::Tensor y;
  at::Tensor stats;
};
[[nodiscard]] NormShape norm_shape(const ModelConfig& config, const at::Tensor& x);
[[nodiscard]] NormResult norm_forward(const NormShape& shape, const at::Tensor& x,
                                      const at::Tensor& w, const at::Tensor& bias);
// dx += ...; dw and db may be undefined.
void norm_backward(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
                   const at::Tensor& stats, const at::Tensor& dy, at::Tensor& dx, at::Tensor dw,
                   at::Tensor db);
// Rotates q and k inside qkv [N, qkv_width] in place.
void rotate(const ModelConfig& config, at::Tensor& qkv, const at::Tensor& cosine,
            const at::Tensor& sine, bool inverse);
struct RopeTables {
  at::Tensor cosine, sine;  // [N, rotary_dim / 2]; undefined without rotation
};
[[nodiscard]] RopeTables rope_tables(const ModelConfig& config, const Batch& batch,
                                     at::ScalarType type);
[[nodiscard]] at::Tensor activate(const ModelConfig& config, const at::Tensor& inner);
[[nodiscard]] at::Tensor activate_backward(const ModelConfig& config, const at::Tensor& inner,
                                           const at::Tensor& dy);
// The norm shapes of q and k heads inside qkv.
[[nodiscard]] NormShape head_norm_shape(const ModelConfig& config, const at::Tensor& qkv,
                                        const at::Tensor& weight, std::int64_t heads);
[[nodiscard]] AttentionShape attention_shape(const ModelConfig& config, std::int64_t layer,
                                             std::int64_t queries, std::int64_t keys,
                                             std::int64_t kv_stride);
// A site's dropout mask [n, width]: 0 or 1 / (1 - p), the same for the same arguments.
[[nodiscard]] at::Tensor dropout_mask(std::uint64_t key, std::int64_t layer, std::int64_t site,
                                      std::int64_t rows, std::int64_t width, double p,
                                      at::ScalarType type);

template <typename T>
[[nodiscard]] inline T* ptr(const at::Tensor& t) {
  return t.defined() ? t.data_ptr<T>() : nullptr;
}
// Calls f(float{}) or f(double{}) by the tensor's type.
template <typename F>
inline auto by_type(const at::Tensor& t, F&& f) {
  return t.scalar_type() == at::kDouble ? f(double{}) : f(float{});
}

}  // namespace trimtab::model
