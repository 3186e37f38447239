// Thin calls from tensors to GEMMs and to kernels.h (CPU, dispatched on float or double) or
// any_device.h. Internal to the model.
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
// The same into views: y and stats are given.
void norm_into(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
               const at::Tensor& bias, const at::Tensor& y, const at::Tensor& stats);
// dx += ...; dw and db may be undefined.
void norm_backward(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
                   const at::Tensor& stats, const at::Tensor& dy, const at::Tensor& dx,
                   const at::Tensor& dw, const at::Tensor& db);
// Views of rows: q [queries, ..], k and v [keys, ..]; lse may be undefined.
void attend(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k,
            const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse);
// dq is set; dk and dv are added to.
struct AttentionGradients {
  at::Tensor dq, dk, dv;
};
void attend_backward(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                     const at::Tensor& d_out, const AttentionGradients& gradients);
// Rotates q and k inside qkv [N, qkv_width] in place.
void rotate(const ModelConfig& config, at::Tensor& qkv, const at::Tensor& cosine,
            const at::Tensor& sine, bool inverse);
struct RopeTables {
  at::Tensor cosine, sine;  // [N, rotary_dim / 2]; undefined without rotation
};
// Of the type and on the device of `like`.
[[nodiscard]] RopeTables rope_tables(const ModelConfig& config, const Batch& batch,
                                     const at::Tensor& like);
// Whole numbers as an index on the device of `like`.
[[nodiscard]] at::Tensor index_on(const at::Tensor& like, const std::vector<std::int64_t>& values);
[[nodiscard]] at::Tensor activate(const ModelConfig& config, const at::Tensor& inner);
[[nodiscard]] at::Tensor activate_backward(const ModelConfig& config, const at::Tensor& inner,
                                           const at::Tensor& dy);
// The norm shapes of q and k heads inside qkv.
[[nodiscard]] NormShape head_norm_shape(const ModelConfig& config, const at::Tensor& qkv,
                                        const at::Tensor& weight, std::int64_t heads);
[[nodiscard]] AttentionShape attention_shape(const ModelConfig& config, std::int64_t layer,
                                             std::int64_t queries, std::int64_t keys,
                                             std::int64_t kv_stride);
// No NaN and no infinity among float, bf16, half or double values of a CPU tensor.
[[nodiscard]] bool all_finite(const at::Tensor& t);
// A site's dropout mask, as large as `like`: 0 or 1 / (1 - p), the same for the same arguments.
[[nodiscard]] at::Tensor dropout_mask(std::uint64_t key, std::int64_t layer, std::int64_t site,
                                      const at::Tensor& like, double p);

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
