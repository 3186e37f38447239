// What a training forward keeps for the hand-written backward, a layer at a time.
//
// Kept: the residual stream, the rotated q k v, attention's output and log-sum-exp, the MLP's inner
// pre-activation, norm statistics. Everything else (normed inputs, activations, scores) is computed
// again in the backward, which is cheaper than its memory. Owned by one training lane.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

namespace trimtab::model {

struct LayerTape {
  at::Tensor x;                       // residual in [N, hidden]
  at::Tensor stats1, stats2;          // norms [N, 2]
  at::Tensor qkv_raw, qk_stats;       // only with qk_norm
  at::Tensor qkv;                     // rotated [N, qkv_width]
  at::Tensor attention, lse;          // [N, q_width], [N, heads]
  at::Tensor projected, post1_stats;  // Gemma-2: before the norm after attention
  at::Tensor x_mid;                   // residual between attention and MLP
  at::Tensor inner;                   // gate_up [N, 2 I] or fc [N, I]
  at::Tensor mlp, post2_stats;        // Gemma-2
  std::array<at::Tensor, 4> low;      // x A^T [N, sum r] by Group
};

struct Tape {
  bool checkpoint = false;  // keep only each layer's x and run the layer again in the backward
  double dropout = 0;       // LoRA's, on each site's input
  std::uint64_t dropout_key = 0;  // seeds the masks: (seed, step, micro-batch)
  at::Tensor cosine, sine;        // [N, rotary_dim / 2]
  std::vector<LayerTape> layers;
  at::Tensor final_x, final_stats;
};

}  // namespace trimtab::model
