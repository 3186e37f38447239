#include "retrain/model/backward.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "retrain/model/block.h"
#include "retrain/model/compat.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {
namespace {

class BackwardPass {
 public:
  BackwardPass(const Decoder& decoder, const Batch& batch, const Adapter* adapter, Tape& tape,
               Gradients& gradients)
      : decoder_(decoder),
        config_(decoder.config()),
        batch_(batch),
        adapter_(adapter),
        tape_(tape),
        gradients_(gradients) {}

  void run(at::Tensor d_hidden) {
    const Weights& w = decoder_.weights();
    const std::int64_t stop = lowest_layer();
    at::Tensor dx = at::zeros_like(tape_.final_x);
    norm_backward(norm_shape(config_, dx), tape_.final_x, w.final_norm, tape_.final_stats, d_hidden,
                  dx, full() ? gradients_.full->final_norm : at::Tensor(),
                  full() ? gradients_.full->final_norm_bias : at::Tensor());
    tape_.final_x = at::Tensor();
    for (std::int64_t layer = config_.layers - 1; layer >= stop; --layer) {
      if (tape_.checkpoint) recompute(layer);
      const bool wants_input = full() || layer > stop;
      dx = block_backward(layer, std::move(dx), wants_input);
      tape_.layers[static_cast<std::size_t>(layer)] = {};
    }
    if (full()) embedding_backward(dx);
  }

 private:
  [[nodiscard]] bool full() const { return gradients_.full != nullptr; }

  // Nothing below the first layer with a LoRA pair needs a gradient.
  [[nodiscard]] std::int64_t lowest_layer() const {
    if (full() || adapter_ == nullptr) return 0;
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      for (const Group group : kGroups) {
        if (!adapter_->layout.group(layer, group).sites.empty()) return layer;
      }
    }
    return config_.layers;
  }

  void recompute(std::int64_t layer) {
    const at::Tensor x = tape_.layers[static_cast<std::size_t>(layer)].x;
    const BlockContext context{
        decoder_, batch_, adapter_spans(batch_), {tape_.cosine, tape_.sine}, &tape_};
    (void)block_forward(context, layer, x);
  }

  // dy [N, out] of a group with input x -> dx [N, in]; adds the group's own gradients.
  at::Tensor group_backward(std::int64_t layer, Group group, const at::Tensor& x, at::Tensor dy,
                            bool wants_input) {
    const auto l = static_cast<std::size_t>(layer);
    const auto g = static_cast<std::size_t>(group);
    const LayerWeights& w = decoder_.weights().layers[l];
    if (full() && gradients_.full->layers[l].bias[g].defined())
      gradients_.full->layers[l].bias[g].add_(dy.sum(0));
    const GroupSites* sites = adapter_ != nullptr ? &adapter_->layout.group(layer, group) : nullptr;
    if (sites != nullptr && sites->sites.empty()) sites = nullptr;
    if (sites != nullptr && adapter_->dora_norms.defined())
      dy = dora_backward(*sites, layer, group, x, dy);
    if (full()) gradients_.full->layers[l].weight[g].addmm_(dy.t(), x);
    at::Tensor dx = wants_input ? project_gradient(dy, w.weight[g]) : at::Tensor();
    if (sites == nullptr) return dx;
    lora_backward(*sites, layer, group, x, dy, dx);
    return dx;
  }

  void lora_backward(const GroupSites& sites, std::int64_t layer, Group group, const at::Tensor& x,
                     const at::Tensor& dy, at::Tensor& dx) {
    const at::Tensor& low =
        tape_.layers[static_cast<std::size_t>(layer)].low[static_cast<std::size_t>(group)];
    at::Tensor d_low = at::empty_like(low);
    for (const Site& site : sites.sites) {
      const at::Tensor dy_site = dy.narrow(1, site.name.begin, site.name.end - site.name.begin);
      // dB = s dy^T (x A^T); d(x A^T) = s dy B
      at::Tensor db = lora_b(gradients_.lora, site);
      db.addmm_(dy_site.t(), low.narrow(1, site.rank_begin, site.r), 1, site.scale);
      at::Tensor d_low_site = d_low.narrow(1, site.rank_begin, site.r);
      d_low_site.addmm_(dy_site, adapter_->b(site), 0, site.scale);
    }
    if (tape_.dropout > 0) return dropped_backward(sites, layer, group, x, d_low, dx);
    at::Tensor da = lora_a_group(gradients_.lora, sites);
    da.addmm_(d_low.t(), x);
    if (dx.defined()) dx.addmm_(d_low, adapter_->a_group(sites));
  }

  void dropped_backward(const GroupSites& sites, std::int64_t layer, Group group,
                        const at::Tensor& x, const at::Tensor& d_low, at::Tensor& dx) {
    for (const Site& site : sites.sites) {
      const at::Tensor mask = dropout_mask(
          tape_.dropout_key, layer,
          static_cast<std::int64_t>(group) * 8 + (&site - sites.sites.data()), x, tape_.dropout);
      const at::Tensor d = d_low.narrow(1, site.rank_begin, site.r);
      at::Tensor da = lora_a(gradients_.lora, site);
      da.addmm_(d.t(), x * mask);
      if (dx.defined()) dx.add_(at::mm(d, adapter_->a(site)).mul_(mask));
    }
  }

  // y = c (W x + s B A x), c = m / ||W + sBA|| with the norm held constant (as PEFT): dm = sum dy u
  // / norm, and dy c goes on.
  at::Tensor dora_backward(const GroupSites& sites, std::int64_t layer, Group group,
                           const at::Tensor& x, const at::Tensor& dy) {
    const auto g = static_cast<std::size_t>(group);
    const auto l = static_cast<std::size_t>(layer);
    const at::Tensor& low = tape_.layers[l].low[g];
    at::Tensor scaled = dy.clone();
    for (const Site& site : sites.sites) {
      const std::int64_t rows = site.name.end - site.name.begin;
      at::Tensor u =
          project(x, decoder_.weights().layers[l].weight[g].narrow(0, site.name.begin, rows));
      u.addmm_(low.narrow(1, site.rank_begin, site.r), adapter_->b(site).t(), 1, site.scale);
      const at::Tensor dy_site = dy.narrow(1, site.name.begin, rows);
      const at::Tensor norms = adapter_->dora_norms.narrow(0, site.magnitude_offset, rows);
      lora_magnitude(gradients_.lora, site).add_(u.mul_(dy_site).sum(0).div_(norms));
      scaled.narrow(1, site.name.begin, rows).mul_(adapter_->dora_factor(site));
    }
    return scaled;
  }

  at::Tensor mlp_backward(std::int64_t layer, const at::Tensor& normed, const at::Tensor& dy,
                          bool wants_input) {
    LayerTape& tape = tape_.layers[static_cast<std::size_t>(layer)];
    const at::Tensor act = activate(config_, tape.inner);
    const at::Tensor d_act = group_backward(layer, Group::kMlpOut, act, dy, true);
    const at::Tensor d_inner = activate_backward(config_, tape.inner, d_act);
    return group_backward(layer, Group::kMlpIn, normed, d_inner, wants_input);
  }

  at::Tensor attention_backward(std::int64_t layer, const at::Tensor& normed, const at::Tensor& dy,
                                bool wants_input) {
    LayerTape& tape = tape_.layers[static_cast<std::size_t>(layer)];
    const at::Tensor d_out = group_backward(layer, Group::kAttentionOut, tape.attention, dy, true);
    at::Tensor d_qkv = at::zeros_like(tape.qkv);
    std::int64_t row = 0;
    for (const Segment& segment : batch_.segments) {
      if (segment.length > 0 && segment.before.empty())
        segment_backward(layer, tape, row, segment.length, d_out, d_qkv);
      if (segment.length > 0 && !segment.before.empty())
        branch_backward(layer, tape, row, segment, d_out, d_qkv);
      row += segment.length;
    }
    rotate(config_, d_qkv, tape_.cosine, tape_.sine, true);
    if (config_.qk_norm) d_qkv = head_norm_backward(layer, tape, d_qkv);
    return group_backward(layer, Group::kAttentionIn, normed, d_qkv, wants_input);
  }

  void segment_backward(std::int64_t layer, const LayerTape& tape, std::int64_t row,
                        std::int64_t length, const at::Tensor& d_out, const at::Tensor& d_qkv) {
    const std::int64_t qw = config_.q_width();
    const std::int64_t kw = config_.kv_width();
    const AttentionShape shape =
        attention_shape(config_, layer, length, length, config_.qkv_width());
    const at::Tensor qkv = tape.qkv.narrow(0, row, length);
    const at::Tensor d = d_qkv.narrow(0, row, length);
    attend_backward(shape, qkv, qkv.narrow(1, qw, kw), qkv.narrow(1, qw + kw, kw),
                    tape.attention.narrow(0, row, length), tape.lse.narrow(0, row, length),
                    d_out.narrow(0, row, length),
                    {d, d.narrow(1, qw, kw), d.narrow(1, qw + kw, kw)});
  }

  // A segment behind shared rows: their keys' gradients are added to the rows themselves.
  void branch_backward(std::int64_t layer, const LayerTape& tape, std::int64_t row,
                       const Segment& segment, const at::Tensor& d_out, const at::Tensor& d_qkv) {
    const std::int64_t qw = config_.q_width();
    const std::int64_t kw = config_.kv_width();
    const std::int64_t length = segment.length;
    const at::Tensor keys = with_before(segment, row, tape.qkv.narrow(1, qw, kw));
    const at::Tensor values = with_before(segment, row, tape.qkv.narrow(1, qw + kw, kw));
    const at::Tensor d_keys = at::zeros_like(keys);
    const at::Tensor d_values = at::zeros_like(values);
    attend_backward(attention_shape(config_, layer, length, keys.size(0), kw),
                    tape.qkv.narrow(0, row, length), keys, values,
                    tape.attention.narrow(0, row, length), tape.lse.narrow(0, row, length),
                    d_out.narrow(0, row, length), {d_qkv.narrow(0, row, length), d_keys, d_values});
    std::int64_t from = 0;
    const auto give = [&](std::int64_t begin, std::int64_t rows) {
      const at::Tensor to = d_qkv.narrow(0, begin, rows);
      to.narrow(1, qw, kw).add_(d_keys.narrow(0, from, rows));
      to.narrow(1, qw + kw, kw).add_(d_values.narrow(0, from, rows));
      from += rows;
    };
    for (const RowRange& range : segment.before) give(range.begin, range.length);
    give(row, length);
  }

  at::Tensor head_norm_backward(std::int64_t layer, const LayerTape& tape,
                                const at::Tensor& d_qkv) {
    const auto l = static_cast<std::size_t>(layer);
    const LayerWeights& w = decoder_.weights().layers[l];
    at::Tensor dx = at::zeros_like(d_qkv);
    const std::int64_t qw = config_.q_width();
    const std::int64_t kw = config_.kv_width();
    dx.narrow(1, qw + kw, kw).copy_(d_qkv.narrow(1, qw + kw, kw));
    const std::int64_t q_stats = d_qkv.size(0) * config_.heads * 2;
    const std::int64_t k_stats = d_qkv.size(0) * config_.kv_heads * 2;
    const at::Tensor none;
    norm_backward(head_norm_shape(config_, d_qkv, w.q_norm, config_.heads), tape.qkv_raw, w.q_norm,
                  tape.qk_stats.narrow(0, 0, q_stats), d_qkv, dx,
                  full() ? gradients_.full->layers[l].q_norm : none, none);
    norm_backward(head_norm_shape(config_, d_qkv, w.k_norm, config_.kv_heads),
                  tape.qkv_raw.narrow(1, qw, kw), w.k_norm,
                  tape.qk_stats.narrow(0, q_stats, k_stats), d_qkv.narrow(1, qw, kw),
                  dx.narrow(1, qw, kw), full() ? gradients_.full->layers[l].k_norm : none, none);
    return dx;
  }

  // The gradient through a norm of x with statistics, as a fresh tensor.
  at::Tensor through_norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& stats,
                          const at::Tensor& dy, const at::Tensor& dw, const at::Tensor& db) {
    at::Tensor dx = at::zeros_like(x);
    norm_backward(norm_shape(config_, x), x, w, stats, dy, dx, dw, db);
    return dx;
  }

  // dx of the block's output -> dx of its input (undefined when nobody below wants it).
  at::Tensor block_backward(std::int64_t layer, at::Tensor dx, bool wants_input) {
    const auto l = static_cast<std::size_t>(layer);
    LayerTape& tape = tape_.layers[l];
    const LayerWeights& w = decoder_.weights().layers[l];
    LayerWeights none;
    LayerWeights& grads = full() ? gradients_.full->layers[l] : none;
    const NormShape shape = norm_shape(config_, dx);
    const at::Tensor n1 = norm_forward(shape, tape.x, w.norm1, w.norm1_bias).y;
    if (config_.parallel_block) {
      at::Tensor d_n1 = mlp_backward(layer, n1, dx, wants_input);
      const at::Tensor d_attention = attention_backward(layer, n1, dx, wants_input);
      if (!wants_input) return {};
      d_n1.add_(d_attention);
      norm_backward(shape, tape.x, w.norm1, tape.stats1, d_n1, dx, grads.norm1, grads.norm1_bias);
      return dx;
    }
    at::Tensor d_mlp = dx;
    if (config_.sandwich_norms)
      d_mlp =
          through_norm(tape.mlp, w.post_mlp_norm, tape.post2_stats, dx, grads.post_mlp_norm, {});
    const at::Tensor n2 = norm_forward(shape, tape.x_mid, w.norm2, w.norm2_bias).y;
    const at::Tensor d_n2 = mlp_backward(layer, n2, d_mlp, true);
    norm_backward(shape, tape.x_mid, w.norm2, tape.stats2, d_n2, dx, grads.norm2, grads.norm2_bias);
    at::Tensor d_attended = dx;
    if (config_.sandwich_norms) {
      d_attended = through_norm(tape.projected, w.post_attention_norm, tape.post1_stats, dx,
                                grads.post_attention_norm, {});
    }
    const at::Tensor d_n1 = attention_backward(layer, n1, d_attended, wants_input);
    if (!wants_input) return {};
    norm_backward(shape, tape.x, w.norm1, tape.stats1, d_n1, dx, grads.norm1, grads.norm1_bias);
    return dx;
  }

  void embedding_backward(at::Tensor& dx) {
    if (config_.learned_positions)
      gradients_.full->positions.index_add_(0, index_on(dx, batch_.positions), dx);
    if (config_.embedding_scale != 1.0) dx.mul_(config_.embedding_scale);
    gradients_.full->embedding.index_add_(0, index_on(dx, batch_.ids), dx);
  }

  const Decoder& decoder_;
  const ModelConfig& config_;
  const Batch& batch_;
  const Adapter* adapter_;
  Tape& tape_;
  Gradients& gradients_;
};

}  // namespace

void backward(const Decoder& decoder, const Batch& batch, const Adapter* adapter, Tape& tape,
              at::Tensor d_hidden, Gradients& gradients) {
  const ComputeScope scope;
  BackwardPass(decoder, batch, adapter, tape, gradients).run(std::move(d_hidden));
}

}  // namespace trimtab::model
