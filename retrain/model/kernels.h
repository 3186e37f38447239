// The element-wise, norm, rotation and attention kernels on the CPU, by raw pointers.
//
// Why by hand: one pass over memory where a chain of tensor operations makes five, and attention on
// strided views of the fused q k v rows without copies. No torch, no allocation: scratch is the
// caller's. Built three times (baseline, AVX2, AVX-512) and chosen at start, so a binary built
// anywhere runs anywhere. T is float, or double in gradient tests. Single-threaded: parallelism is
// the caller's, by lanes. Results do not depend on timing or thread count.
#pragma once

#include <cstdint>

#include "retrain/model/model_config.h"

namespace trimtab::model {

// Rows of `groups` vectors of `width`, row i at x + i * stride.
struct NormShape {
  std::int64_t rows = 0;
  std::int64_t groups = 1;
  std::int64_t width = 0;
  std::int64_t stride = 0;
  std::int64_t weight_stride = 0;  // 0: one weight for all groups
  NormKind kind = NormKind::kRms;
  bool unit_offset = false;
  double eps = 1e-5;
};

struct RopeShape {
  std::int64_t rows = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t stride = 0;
  std::int64_t rotary_dim = 0;
  bool interleaved = false;
  bool inverse = false;  // the transpose, for backward
};

// One document: queries are its last `queries` tokens, keys all `keys` of them.
struct AttentionShape {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t window = 0;
  double scale = 1.0;
  double softcap = 0.0;
  std::int64_t q_stride = 0;
  std::int64_t kv_stride = 0;
  std::int64_t out_stride = 0;
};

inline constexpr std::int64_t kAttentionBlock = 64;  // query rows a block: scores stay in L2

template <typename T>
struct Kernels {
  // stats [rows, groups, 2]: mean (0 for RMS) and 1 / deviation.
  void (*norm)(const NormShape&, const T* x, const T* weight, const T* bias, T* y, T* stats);
  // dx += gradient; dweight, dbias += when not null. y and dy have row stride groups * width when
  // the shape's stride differs (see y_stride in kernels_impl.h): same layout as x here.
  void (*norm_backward)(const NormShape&, const T* x, const T* weight, const T* stats, const T* dy,
                        T* dx, T* dweight, T* dbias);
  // cosine, sine [rows, rotary_dim / 2]; in place.
  void (*rope)(const RopeShape&, T* x, const T* cosine, const T* sine);
  // scratch >= 2 * kAttentionBlock * keys. lse [queries, heads] may be null.
  void (*attention)(const AttentionShape&, const T* q, const T* k, const T* v, T* out, T* lse,
                    T* scratch);
  // dq is set; dk and dv are added to. dq has q_stride; dk, dv kv_stride; d_out out_stride.
  void (*attention_backward)(const AttentionShape&, const T* q, const T* k, const T* v,
                             const T* out, const T* lse, const T* d_out, T* dq, T* dk, T* dv,
                             T* scratch);
  // gated: x [rows, 2 width] = gate, up; y [rows, width] = act(gate) * up. Else y = act(x).
  void (*activate)(Activation, bool gated, std::int64_t rows, std::int64_t width, const T* x, T* y);
  void (*activate_backward)(Activation, bool gated, std::int64_t rows, std::int64_t width,
                            const T* x, const T* dy, T* dx);
  // logits [rows, vocab] -> log-sum-exp per row.
  void (*log_sum_exp)(std::int64_t rows, std::int64_t vocab, const T* logits, T* lse);
  // One AdamW update (Loshchilov and Hutter 2019, torch's form) of `count` parameters.
  void (*adamw)(std::int64_t count, T* p, const T* g, T* m, T* v, T lr, T beta1, T beta2, T eps,
                T weight_decay, T correction1, T correction2, T grad_scale);
  // logits -> weight_row * (softmax - onehot(label)) in place.
  void (*softmax_gradient)(std::int64_t rows, std::int64_t vocab, T* logits, const T* lse,
                           const std::int64_t* labels, const T* weights);
  // KL(p || q) a row into kl; q's logits -> weight_row * (q - p) in place.
  void (*kl_gradient)(std::int64_t rows, std::int64_t vocab, T* q_logits, const T* q_lse,
                      const T* p_logits, const T* p_lse, const T* weights, double* kl);
};

// The fastest build that this processor runs.
template <typename T>
[[nodiscard]] const Kernels<T>& kernels();

}  // namespace trimtab::model
