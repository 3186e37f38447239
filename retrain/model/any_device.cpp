#include "retrain/model/any_device.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "retrain/model/compat.h"

namespace trimtab::model {
namespace {

bool everywhere = false;  // set once, before threads

}  // namespace

void any_device_everywhere(bool on) { everywhere = on; }
bool by_kernels(const at::Tensor& t) { return t.device().is_cpu() && !everywhere; }
at::Tensor beside(const at::Tensor& t, const at::Tensor& like) {
  // From pinned pages the copy runs while the host goes on; libtorch keeps them until it is done.
  const bool upload = t.device().is_cpu() && like.device().is_cuda();
  return upload ? t.pin_memory().to(like.device(), /*non_blocking=*/true) : t.to(like.device());
}

namespace any_device {
namespace {

// [rows, groups, width] of the leading columns.
at::Tensor grouped(const NormShape& s, const at::Tensor& x) {
  return x.narrow(1, 0, s.groups * s.width).view({s.rows, s.groups, s.width});
}

at::Tensor scale_of(const NormShape& s, const at::Tensor& weight) {
  const at::Tensor w = s.weight_stride > 0 ? weight.view({s.groups, s.width}) : weight;
  return s.unit_offset ? w.add(1.0) : w;
}

struct Normed {
  at::Tensor n, inverse;  // (x - mean) / deviation; 1 / deviation [rows, groups, 1]
};
Normed normed(const NormShape& s, const at::Tensor& x, const at::Tensor& stats) {
  const at::Tensor flat = stats.view({s.rows, s.groups, 2});
  const at::Tensor inverse = flat.narrow(2, 1, 1);
  return {grouped(s, x).sub(flat.narrow(2, 0, 1)).mul(inverse), inverse};
}

}  // namespace

void norm(const NormShape& s, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
          at::Tensor y, at::Tensor stats) {
  const at::Tensor in = grouped(s, x);
  const at::Tensor mean =
      s.kind == NormKind::kLayer ? in.mean({2}, true) : at::zeros_like(in.narrow(2, 0, 1));
  const at::Tensor centred = in.sub(mean);
  const at::Tensor inverse = centred.mul(centred).mean({2}, true).add(s.eps).rsqrt();
  at::Tensor out = centred.mul(inverse).mul(scale_of(s, weight));
  if (bias.defined()) out.add_(bias);
  grouped(s, y).copy_(out);
  stats.view({s.rows, s.groups, 2}).copy_(at::cat({mean, inverse}, 2));
}

void norm_backward(const NormShape& s, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& stats, const at::Tensor& dy, at::Tensor dx, at::Tensor dweight,
                   at::Tensor dbias) {
  const auto [n, inverse] = normed(s, x, stats);
  const at::Tensor d = grouped(s, dy);
  const at::Tensor u = d.mul(scale_of(s, weight));
  at::Tensor inner = u.sub(n.mul(u.mul(n).mean({2}, true)));
  if (s.kind == NormKind::kLayer) inner.sub_(u.mean({2}, true));
  grouped(s, dx).add_(inner.mul(inverse));
  if (dweight.defined()) {
    const at::Tensor sums = d.mul(n).sum(0);
    dweight.add_(s.weight_stride > 0 ? sums.view_as(dweight) : sums.sum(0).view_as(dweight));
  }
  if (dbias.defined()) dbias.add_(d.sum(0).sum(0).view_as(dbias));
}

void rope(const RopeShape& s, at::Tensor x, const at::Tensor& cosine, const at::Tensor& sine) {
  const std::int64_t half = s.rotary_dim / 2;
  const at::Tensor v = x.narrow(1, 0, s.heads * s.head_dim)
                           .view({s.rows, s.heads, s.head_dim})
                           .narrow(2, 0, s.rotary_dim);
  const at::Tensor c = cosine.unsqueeze(1);
  const at::Tensor sn = s.inverse ? sine.unsqueeze(1).neg() : sine.unsqueeze(1);
  at::Tensor a = s.interleaved ? v.slice(2, 0, s.rotary_dim, 2) : v.narrow(2, 0, half);
  at::Tensor b = s.interleaved ? v.slice(2, 1, s.rotary_dim, 2) : v.narrow(2, half, half);
  const at::Tensor first = a.mul(c).sub(b.mul(sn));
  const at::Tensor second = b.mul(c).add(a.mul(sn));
  a.copy_(first);
  b.copy_(second);
}

namespace {

// [n, groups * d] -> [heads, n, d], kv heads repeated.
at::Tensor by_head(const at::Tensor& x, std::int64_t groups, std::int64_t d, std::int64_t repeat) {
  const at::Tensor split = x.narrow(1, 0, groups * d).view({x.size(0), groups, d}).transpose(0, 1);
  return repeat == 1 ? split : split.repeat_interleave(repeat, 0);
}

// True where query i may not see key j: [queries, keys].
at::Tensor hidden_keys(const AttentionShape& s, const at::Tensor& like) {
  const auto options = like.options().dtype(at::kLong);
  const at::Tensor last = at::arange(s.keys - s.queries, s.keys, options).unsqueeze(1);
  const at::Tensor key = at::arange(0, s.keys, options).unsqueeze(0);
  at::Tensor mask = key.gt(last);
  if (s.window > 0) mask = mask.logical_or(key.le(last.sub(s.window)));
  return mask;
}

struct Heads {
  at::Tensor q, k, v;  // [heads, n, d]
};
Heads heads_of(const AttentionShape& s, const at::Tensor& q, const at::Tensor& k,
               const at::Tensor& v) {
  const std::int64_t repeat = s.heads / s.kv_heads;
  return {by_head(q, s.heads, s.head_dim, 1), by_head(k, s.kv_heads, s.head_dim, repeat),
          by_head(v, s.kv_heads, s.head_dim, repeat)};
}
// [heads, queries, keys], scaled and capped, not masked.
at::Tensor scores_of(const AttentionShape& s, const Heads& h) {
  at::Tensor scores = at::bmm(h.q, h.k.transpose(1, 2)).mul_(s.scale);
  if (s.softcap > 0) scores.div_(s.softcap).tanh_().mul_(s.softcap);
  return scores;
}

// [heads, n, d] added to or put into rows [n, heads * d].
at::Tensor rows_of(const at::Tensor& x, std::int64_t groups, std::int64_t d) {
  return x.narrow(1, 0, groups * d).view({x.size(0), groups, d});
}

}  // namespace

void attention(const AttentionShape& s, const at::Tensor& q, const at::Tensor& k,
               const at::Tensor& v, at::Tensor out, at::Tensor lse) {
  const Heads h = heads_of(s, q, k, v);
  const at::Tensor hidden = hidden_keys(s, q);
  if (!lse.defined() && s.softcap <= 0) {
    const at::Tensor fused = fused_attention(h.q, h.k, h.v, hidden.logical_not(), s.scale);
    if (fused.defined()) {
      rows_of(out, s.heads, s.head_dim).copy_(fused.transpose(0, 1));
      return;
    }
  }
  at::Tensor scores = scores_of(s, h);
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  const at::Tensor level = scores.logsumexp({2}, true);
  const at::Tensor p = scores.sub_(level).exp_();
  rows_of(out, s.heads, s.head_dim).copy_(at::bmm(p, h.v).transpose(0, 1));
  if (lse.defined()) lse.copy_(level.squeeze(2).t());
}

void attention_backward(const AttentionShape& s, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                        const at::Tensor& d_out, at::Tensor dq, at::Tensor dk, at::Tensor dv) {
  const Heads h = heads_of(s, q, k, v);
  const at::Tensor scores = scores_of(s, h);
  at::Tensor p = scores.sub(lse.t().unsqueeze(2));
  p.masked_fill_(hidden_keys(s, q), -std::numeric_limits<double>::infinity()).exp_();
  const at::Tensor o = by_head(out, s.heads, s.head_dim, 1);
  const at::Tensor d = by_head(d_out, s.heads, s.head_dim, 1);
  at::Tensor ds = at::bmm(d, h.v.transpose(1, 2)).sub_(o.mul(d).sum({2}, true)).mul_(p);
  ds.mul_(s.scale);
  if (s.softcap > 0) {
    const at::Tensor t = scores.div(s.softcap);
    ds.mul_(t.mul(t).neg_().add_(1.0));
  }
  const std::int64_t repeat = s.heads / s.kv_heads;
  const auto fold = [&](const at::Tensor& x) {  // sums the heads that share a kv head
    return x.view({s.kv_heads, repeat, s.keys, s.head_dim}).sum({1}).transpose(0, 1);
  };
  rows_of(dq, s.heads, s.head_dim).copy_(at::bmm(ds, h.k).transpose(0, 1));
  rows_of(dk, s.kv_heads, s.head_dim).add_(fold(at::bmm(ds.transpose(1, 2), h.q)));
  rows_of(dv, s.kv_heads, s.head_dim).add_(fold(at::bmm(p.transpose(1, 2), d)));
}

namespace {

at::Tensor act(Activation a, const at::Tensor& x) {
  switch (a) {
    case Activation::kSilu: return x.mul(x.sigmoid());
    case Activation::kGelu: return x.mul(0.5).mul(x.mul(0.7071067811865476).erf().add(1.0));
    case Activation::kGeluTanh: {
      const at::Tensor u = x.add(x.mul(x).mul(x), 0.044715).mul(0.7978845608028654);
      return x.mul(0.5).mul(u.tanh().add(1.0));
    }
    case Activation::kRelu: return x.relu();
  }
  return x;
}

at::Tensor act_slope(Activation a, const at::Tensor& x) {
  switch (a) {
    case Activation::kSilu: {
      const at::Tensor s = x.sigmoid();
      return s.mul(x.mul(s.neg().add(1.0)).add(1.0));
    }
    case Activation::kGelu: {
      const at::Tensor density = x.mul(x).mul(-0.5).exp().mul(0.3989422804014327);
      return x.mul(0.7071067811865476).erf().add(1.0).mul(0.5).add(x.mul(density));
    }
    case Activation::kGeluTanh: {
      const at::Tensor t = x.add(x.mul(x).mul(x), 0.044715).mul(0.7978845608028654).tanh();
      const at::Tensor inner = x.mul(x).mul(3 * 0.044715).add(1.0).mul(0.7978845608028654);
      return t.add(1.0).mul(0.5).add(x.mul(0.5).mul(t.mul(t).neg().add(1.0)).mul(inner));
    }
    case Activation::kRelu: return x.gt(0).to(x.scalar_type());
  }
  return x;
}

}  // namespace

at::Tensor activate(Activation a, bool gated, const at::Tensor& x) {
  if (!gated) return act(a, x);
  const std::int64_t width = x.size(1) / 2;
  return act(a, x.narrow(1, 0, width)).mul(x.narrow(1, width, width));
}

at::Tensor activate_backward(Activation a, bool gated, const at::Tensor& x, const at::Tensor& dy) {
  if (!gated) return dy.mul(act_slope(a, x));
  const std::int64_t width = x.size(1) / 2;
  const at::Tensor gate = x.narrow(1, 0, width);
  const at::Tensor up = x.narrow(1, width, width);
  return at::cat({dy.mul(up).mul(act_slope(a, gate)), dy.mul(act(a, gate))}, 1);
}

void softmax_gradient(at::Tensor logits, const at::Tensor& lse, const at::Tensor& labels,
                      const at::Tensor& weights) {
  const at::Tensor w = weights.unsqueeze(1);
  logits.sub_(lse.unsqueeze(1)).exp_().mul_(w);
  if (labels.defined()) logits.scatter_add_(1, labels.unsqueeze(1), w.neg());
}

at::Tensor kl_gradient(at::Tensor q_logits, const at::Tensor& q_lse, const at::Tensor& p_logits,
                       const at::Tensor& p_lse, const at::Tensor& weights) {
  const at::Tensor log_p = p_logits.sub(p_lse.unsqueeze(1));
  q_logits.sub_(q_lse.unsqueeze(1));
  const at::Tensor p = log_p.exp();
  const at::Tensor kl = log_p.sub_(q_logits).mul_(p).sum({1});
  q_logits.exp_().sub_(p).mul_(weights.unsqueeze(1));
  return kl;
}

}  // namespace any_device
}  // namespace trimtab::model
