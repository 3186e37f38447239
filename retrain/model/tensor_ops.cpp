#include "retrain/model/tensor_ops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"

namespace trimtab::model {

at::Tensor project(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  at::Tensor y;
  if (w.scalar_type() != x.scalar_type()) {
    y = at::mm(x.to(w.scalar_type()), w.t()).to(x.scalar_type());
  } else if (x.size(0) == 1) {
    y = at::mv(w, x.select(0, 0)).unsqueeze(0);
  } else {
    y = at::mm(x, w.t());
  }
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor project_gradient(const at::Tensor& dy, const at::Tensor& w) {
  if (w.scalar_type() != dy.scalar_type()) {
    return at::mm(dy.to(w.scalar_type()), w).to(dy.scalar_type());
  }
  return at::mm(dy, w);
}

NormShape norm_shape(const ModelConfig& config, const at::Tensor& x) {
  NormShape shape;
  shape.rows = x.size(0);
  shape.width = x.size(1);
  shape.stride = x.size(1);
  shape.kind = config.norm;
  shape.unit_offset = config.norm_unit_offset;
  shape.eps = config.norm_eps;
  return shape;
}

NormShape head_norm_shape(const ModelConfig& config, const at::Tensor& qkv,
                          const at::Tensor& weight, std::int64_t heads) {
  NormShape shape = norm_shape(config, qkv);
  shape.groups = heads;
  shape.width = config.head_dim;
  shape.weight_stride = weight.dim() == 2 ? config.head_dim : 0;
  return shape;
}

NormResult norm_forward(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
                        const at::Tensor& bias) {
  NormResult result{at::empty_like(x), at::empty({shape.rows, shape.groups, 2}, x.options())};
  norm_into(shape, x, w, bias, result.y, result.stats);
  return result;
}

void norm_into(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
               const at::Tensor& bias, const at::Tensor& y, const at::Tensor& stats) {
  if (!by_kernels(x)) return any_device::norm(shape, x, w, bias, y, stats);
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().norm(shape, ptr<T>(x), ptr<T>(w), ptr<T>(bias), ptr<T>(y), ptr<T>(stats));
  });
}

void norm_backward(const NormShape& shape, const at::Tensor& x, const at::Tensor& w,
                   const at::Tensor& stats, const at::Tensor& dy, const at::Tensor& dx,
                   const at::Tensor& dw, const at::Tensor& db) {
  if (!by_kernels(x)) return any_device::norm_backward(shape, x, w, stats, dy, dx, dw, db);
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().norm_backward(shape, ptr<T>(x), ptr<T>(w), ptr<T>(stats), ptr<T>(dy), ptr<T>(dx),
                               ptr<T>(dw), ptr<T>(db));
  });
}

void attend(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k,
            const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse) {
  if (!by_kernels(q)) return any_device::attention(shape, q, k, v, out, lse);
  by_type(q, [&](auto zero) {
    using T = decltype(zero);
    thread_local std::vector<T> scratch;
    scratch.resize(static_cast<std::size_t>(2 * kAttentionBlock * shape.keys));
    kernels<T>().attention(shape, ptr<T>(q), ptr<T>(k), ptr<T>(v), ptr<T>(out), ptr<T>(lse),
                           scratch.data());
  });
}

void attend_backward(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                     const at::Tensor& d_out, const AttentionGradients& g) {
  if (!by_kernels(q))
    return any_device::attention_backward(shape, q, k, v, out, lse, d_out, g.dq, g.dk, g.dv);
  by_type(q, [&](auto zero) {
    using T = decltype(zero);
    thread_local std::vector<T> scratch;
    scratch.resize(static_cast<std::size_t>(2 * kAttentionBlock * shape.keys));
    kernels<T>().attention_backward(shape, ptr<T>(q), ptr<T>(k), ptr<T>(v), ptr<T>(out),
                                    ptr<T>(lse), ptr<T>(d_out), ptr<T>(g.dq), ptr<T>(g.dk),
                                    ptr<T>(g.dv), scratch.data());
  });
}

void rotate(const ModelConfig& config, at::Tensor& qkv, const at::Tensor& cosine,
            const at::Tensor& sine, bool inverse) {
  if (!cosine.defined()) return;
  RopeShape shape;
  shape.rows = qkv.size(0);
  shape.heads = config.heads + config.kv_heads;  // q then k lie side by side
  shape.head_dim = config.head_dim;
  shape.stride = qkv.size(1);
  shape.rotary_dim = config.rope.rotary_dim;
  shape.interleaved = config.rope.interleaved;
  shape.inverse = inverse;
  if (!by_kernels(qkv)) return any_device::rope(shape, qkv, cosine, sine);
  by_type(qkv, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().rope(shape, ptr<T>(qkv), ptr<T>(cosine), ptr<T>(sine));
  });
}

RopeTables rope_tables(const ModelConfig& config, const Batch& batch, const at::Tensor& like) {
  const at::ScalarType type = like.scalar_type();
  const RopeConfig& rope = config.rope;
  if (rope.kind == RopeKind::kNone) return {};
  const auto n = static_cast<std::int64_t>(batch.ids.size());
  const std::int64_t half = rope.rotary_dim / 2;
  RopeTables tables{at::empty({n, half}, type), at::empty({n, half}, type)};
  by_type(tables.cosine, [&](auto zero) {
    using T = decltype(zero);
    T* cosine = ptr<T>(tables.cosine);
    T* sine = ptr<T>(tables.sine);
    std::vector<float> inverse = rope_inverse_frequencies(rope, 0);
    std::int64_t row = 0;
    for (const Segment& segment : batch.segments) {
      if (rope.length_dependent()) {
        const auto begin = batch.positions.begin() + row;
        inverse =
            rope_inverse_frequencies(rope, *std::max_element(begin, begin + segment.length) + 1);
      }
      for (std::int64_t t = 0; t < segment.length; ++t, ++row) {
        const auto position = static_cast<float>(batch.positions[static_cast<std::size_t>(row)]);
        for (std::int64_t i = 0; i < half; ++i) {
          const float angle = position * inverse[static_cast<std::size_t>(i)];
          cosine[row * half + i] =
              static_cast<T>(std::cos(static_cast<double>(angle)) * rope.attention_factor);
          sine[row * half + i] =
              static_cast<T>(std::sin(static_cast<double>(angle)) * rope.attention_factor);
        }
      }
    }
  });
  return {beside(tables.cosine, like), beside(tables.sine, like)};
}

at::Tensor index_on(const at::Tensor& like, const std::vector<std::int64_t>& values) {
  const at::Tensor index = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), index.data_ptr<std::int64_t>());
  return beside(index, like);
}

at::Tensor activate(const ModelConfig& config, const at::Tensor& inner) {
  if (!by_kernels(inner)) return any_device::activate(config.activation, config.gated_mlp, inner);
  at::Tensor y = at::empty({inner.size(0), config.intermediate}, inner.options());
  by_type(inner, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().activate(config.activation, config.gated_mlp, inner.size(0), config.intermediate,
                          ptr<T>(inner), ptr<T>(y));
  });
  return y;
}

at::Tensor activate_backward(const ModelConfig& config, const at::Tensor& inner,
                             const at::Tensor& dy) {
  if (!by_kernels(inner))
    return any_device::activate_backward(config.activation, config.gated_mlp, inner, dy);
  at::Tensor dx = at::empty_like(inner);
  by_type(inner, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().activate_backward(config.activation, config.gated_mlp, inner.size(0),
                                   config.intermediate, ptr<T>(inner), ptr<T>(dy), ptr<T>(dx));
  });
  return dx;
}

AttentionShape attention_shape(const ModelConfig& config, std::int64_t layer, std::int64_t queries,
                               std::int64_t keys, std::int64_t kv_stride) {
  AttentionShape shape;
  shape.queries = queries;
  shape.keys = keys;
  shape.heads = config.heads;
  shape.kv_heads = config.kv_heads;
  shape.head_dim = config.head_dim;
  shape.window = config.windows[static_cast<std::size_t>(layer)];
  shape.scale =
      config.attention_scale / (config.scale_by_layer ? static_cast<double>(layer + 1) : 1.0);
  shape.softcap = config.attention_softcap;
  shape.q_stride = config.qkv_width();
  shape.kv_stride = kv_stride;
  shape.out_stride = config.q_width();
  return shape;
}

namespace {

// Exponent bits all set: infinity or NaN.
template <typename Bits>
bool finite_bits(const void* data, std::int64_t count, Bits exponent) {
  const auto* values = static_cast<const Bits*>(data);
  Bits bad = 0;
  for (std::int64_t i = 0; i < count; ++i)
    bad |= static_cast<Bits>((values[i] & exponent) == exponent);
  return bad == 0;
}

}  // namespace

bool all_finite(const at::Tensor& t) {
  const at::Tensor flat = t.contiguous();
  const std::int64_t count = flat.numel();
  switch (flat.scalar_type()) {
    case at::kFloat: return finite_bits<std::uint32_t>(flat.data_ptr(), count, 0x7f800000U);
    case at::kBFloat16: return finite_bits<std::uint16_t>(flat.data_ptr(), count, 0x7f80U);
    case at::kHalf: return finite_bits<std::uint16_t>(flat.data_ptr(), count, 0x7c00U);
    case at::kDouble:
      return finite_bits<std::uint64_t>(flat.data_ptr(), count, 0x7ff0000000000000ULL);
    default: return true;  // whole numbers
  }
}

at::Tensor dropout_mask(std::uint64_t key, std::int64_t layer, std::int64_t site,
                        const at::Tensor& like, double p) {
  CHECK(p >= 0 && p < 1, "dropout in [0, 1)");
  Random random(key ^ (static_cast<std::uint64_t>(layer * 64 + site + 1) * 0x9e3779b97f4a7c15ULL));
  at::Tensor mask = at::empty(like.sizes(), like.scalar_type());
  by_type(mask, [&](auto zero) {
    using T = decltype(zero);
    const T keep = static_cast<T>(1.0 / (1.0 - p));
    T* out = ptr<T>(mask);
    for (std::int64_t i = 0; i < mask.numel(); ++i) out[i] = random.uniform() < p ? T(0) : keep;
  });
  return beside(mask, like);
}

}  // namespace trimtab::model
