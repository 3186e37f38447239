// Every difference between libtorch 1.13.1 (Debian) and 2.x in one place.
//
// Both have c10::InferenceMode (at::NoGradGuard only the older); no code here uses autograd, so the
// guard's use is speed: no version counters, no autograd dispatch.
#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#if __has_include(<ATen/ops/scaled_dot_product_attention.h>)  // 2.x
#include <ATen/ops/scaled_dot_product_attention.h>
#define TRIMTAB_HAS_SDPA 1
#endif

#undef CHECK  // libtorch's logging has a macro of this name; the house's goes first
#include "base/check.h"

namespace trimtab::model {

// One per function that works on tensors; cheap, nests.
using ComputeScope = c10::InferenceMode;

// A libtorch with CUDA, its driver, and a device.
inline bool cuda_is_there() { return at::hasCUDA(); }

// softmax(scale q k^T where keep) v of [heads, n, d], by the fused kernels of libtorch 2.x;
// undefined where it has none.
inline at::Tensor fused_attention([[maybe_unused]] const at::Tensor& q,
                                  [[maybe_unused]] const at::Tensor& k,
                                  [[maybe_unused]] const at::Tensor& v,
                                  [[maybe_unused]] const at::Tensor& keep,
                                  [[maybe_unused]] double scale) {
#ifdef TRIMTAB_HAS_SDPA
  return at::scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), keep, 0.0,
                                          false, scale)
      .squeeze(0);
#else
  return {};
#endif
}

inline void set_torch_threads(int threads) { at::set_num_threads(threads); }
// OpenMP's number is each thread's own: in a thread that libtorch has not met yet, oneDNN would
// take all cores for every product. Asking makes libtorch set it.
inline void settle_torch_threads() { (void)at::get_num_threads(); }

}  // namespace trimtab::model
