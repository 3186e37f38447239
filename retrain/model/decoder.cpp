#include "retrain/model/decoder.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <malloc.h>

#include <algorithm>
#include <limits>

#include "retrain/model/block.h"
#include "retrain/model/compat.h"
#include "retrain/model/openblas_core.h"
#include "retrain/model/tensor_ops.h"

extern "C" void openblas_set_num_threads(int threads);

namespace trimtab::model {

void set_compute_threads(int threads) {
  set_torch_threads(threads);
  openblas_set_num_threads(threads);
}

void prepare_process(int threads) {
  use_best_openblas_core();
  // Large buffers come and go every layer: keep them on the heap. One arena, because a thread's own
  // arena is made of 64 MiB maps and sends larger requests to mmap.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
  set_compute_threads(threads);
}

void KvSequence::truncate(std::int64_t length) {
  length_ = std::min(length_, std::max<std::int64_t>(0, length));
}

KvSequence KvSequence::fork() const {
  const ComputeScope scope;
  KvSequence copy = *this;
  for (auto* side : {&copy.keys_, &copy.values_}) {
    for (at::Tensor& tensor : *side) tensor = tensor.clone();
  }
  return copy;
}

std::int64_t KvSequence::bytes() const {
  std::int64_t total = 0;
  for (const auto* side : {&keys_, &values_}) {
    for (const at::Tensor& tensor : *side) total += static_cast<std::int64_t>(tensor.nbytes());
  }
  return total;
}

void KvSequence::append(std::size_t layer, std::size_t layers, const at::Tensor& k,
                        const at::Tensor& v) {
  const std::int64_t wanted = length_ + k.size(0);
  if (keys_.empty()) keys_.resize(layers), values_.resize(layers);
  for (auto& [side, rows] : {std::pair{&keys_, &k}, std::pair{&values_, &v}}) {
    at::Tensor& tensor = (*side)[layer];
    if (!tensor.defined() || tensor.size(0) < wanted) {
      at::Tensor grown =
          at::empty({std::max<std::int64_t>(32, wanted * 3 / 2), k.size(1)}, k.options());
      if (length_ > 0) grown.narrow(0, 0, length_).copy_(tensor.narrow(0, 0, length_));
      tensor = grown;
    }
    tensor.narrow(0, length_, k.size(0)).copy_(*rows);
  }
}

void Batch::add(const std::vector<std::int64_t>& tokens, const Adapter* adapter,
                KvSequence* cache) {
  const std::int64_t first = cache != nullptr ? cache->length() : 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    ids.push_back(tokens[i]);
    positions.push_back(first + static_cast<std::int64_t>(i));
  }
  segments.push_back({static_cast<std::int64_t>(tokens.size()), cache, adapter});
}

Decoder::Decoder(ModelConfig config, Weights weights)
    : config_(std::move(config)), weights_(std::move(weights)) {}

at::ScalarType Decoder::dtype() const { return weights_.head.scalar_type(); }

std::vector<AdapterSpan> adapter_spans(const Batch& batch) {
  std::vector<AdapterSpan> spans;
  std::int64_t row = 0;
  for (const Segment& segment : batch.segments) {
    if (!spans.empty() && spans.back().adapter == segment.adapter) {
      spans.back().rows += segment.length;
    } else {
      spans.push_back({segment.adapter, row, segment.length});
    }
    row += segment.length;
  }
  return spans;
}

namespace {

// DoRA (Liu et al. 2024): y = m / ||W + sBA|| (W x + s B A x), the bias outside.
void scale_by_dora(const Adapter& adapter, const Site& site, const at::Tensor& bias, at::Tensor y) {
  const at::Tensor factor = adapter.dora_factor(site);
  if (!factor.defined()) return;
  if (!bias.defined()) {
    y.mul_(factor);
    return;
  }
  const at::Tensor b = bias.narrow(0, site.name.begin, site.name.end - site.name.begin);
  y.sub_(b).mul_(factor).add_(b);
}

void add_adapter(const BlockContext& context, std::int64_t layer, Group group,
                 const AdapterSpan& span, const at::Tensor& bias, const at::Tensor& x,
                 at::Tensor& y) {
  if (span.adapter == nullptr) return;
  const Adapter& adapter = *span.adapter;
  const GroupSites& sites = adapter.layout.group(layer, group);
  if (sites.sites.empty()) return;
  const at::Tensor rows = x.narrow(0, span.begin, span.rows);
  const bool dropped = context.tape != nullptr && context.tape->dropout > 0;
  at::Tensor low;
  if (!dropped)
    low = at::mm(rows, adapter.a_group(sites).t());
  else
    low = dropped_low(*context.tape, adapter, sites, layer, group, rows);
  for (const Site& site : sites.sites) {
    at::Tensor out = y.narrow(0, span.begin, span.rows)
                         .narrow(1, site.name.begin, site.name.end - site.name.begin);
    out.addmm_(low.narrow(1, site.rank_begin, site.r), adapter.b(site).t(), 1, site.scale);
    scale_by_dora(adapter, site, bias, out);
  }
  if (context.tape != nullptr) {
    context.tape->layers[static_cast<std::size_t>(layer)].low[static_cast<std::size_t>(group)] =
        low;
  }
}

}  // namespace

at::Tensor dropped_low(const Tape& tape, const Adapter& adapter, const GroupSites& sites,
                       std::int64_t layer, Group group, const at::Tensor& rows) {
  at::Tensor low = at::empty({rows.size(0), sites.ranks}, rows.options());
  for (const Site& site : sites.sites) {
    const at::Tensor mask = dropout_mask(
        tape.dropout_key, layer,
        static_cast<std::int64_t>(group) * 8 + (&site - sites.sites.data()), rows, tape.dropout);
    low.narrow(1, site.rank_begin, site.r).copy_(at::mm(rows * mask, adapter.a(site).t()));
  }
  return low;
}

at::Tensor group_forward(const BlockContext& context, std::int64_t layer, Group group,
                         const at::Tensor& x) {
  const LayerWeights& w = context.decoder.weights().layers[static_cast<std::size_t>(layer)];
  const auto g = static_cast<std::size_t>(group);
  at::Tensor y = project(x, w.weight[g], w.bias[g]);
  for (const AdapterSpan& span : context.spans)
    add_adapter(context, layer, group, span, w.bias[g], x, y);
  return y;
}

at::Tensor with_before(const Segment& segment, std::int64_t row, const at::Tensor& columns) {
  std::int64_t count = segment.length;
  for (const RowRange& range : segment.before) count += range.length;
  at::Tensor all = at::empty({count, columns.size(1)}, columns.options());
  std::int64_t at = 0;
  const auto take = [&](std::int64_t begin, std::int64_t length) {
    all.narrow(0, at, length).copy_(columns.narrow(0, begin, length));
    at += length;
  };
  for (const RowRange& range : segment.before) take(range.begin, range.length);
  take(row, segment.length);
  return all;
}

namespace {

void attend_segment(const ModelConfig& config, std::int64_t layer, const Segment& segment,
                    std::int64_t row, const at::Tensor& qkv, at::Tensor& out, at::Tensor& lse) {
  const std::int64_t qw = config.q_width();
  const std::int64_t kw = config.kv_width();
  const at::Tensor rows = qkv.narrow(0, row, segment.length);
  at::Tensor keys = rows.narrow(1, qw, kw);
  at::Tensor values = rows.narrow(1, qw + kw, kw);
  std::int64_t count = segment.length;
  std::int64_t stride = config.qkv_width();
  if (!segment.before.empty()) {
    keys = with_before(segment, row, qkv.narrow(1, qw, kw));
    values = with_before(segment, row, qkv.narrow(1, qw + kw, kw));
    count = keys.size(0);
    stride = kw;
    if (segment.cache != nullptr) {
      segment.cache->append(static_cast<std::size_t>(layer),
                            static_cast<std::size_t>(config.layers), keys, values);
    }
  } else if (segment.cache != nullptr) {
    segment.cache->append(static_cast<std::size_t>(layer), static_cast<std::size_t>(config.layers),
                          keys, values);
    keys = segment.cache->keys(static_cast<std::size_t>(layer));
    values = segment.cache->values(static_cast<std::size_t>(layer));
    count += segment.cache->length();
    stride = kw;
  }
  const AttentionShape shape = attention_shape(config, layer, segment.length, count, stride);
  attend(shape, rows, keys.narrow(0, 0, count), values.narrow(0, 0, count),
         out.narrow(0, row, segment.length),
         lse.defined() ? lse.narrow(0, row, segment.length) : at::Tensor());
}

at::Tensor normalize_heads(const ModelConfig& config, const LayerWeights& w, const at::Tensor& raw,
                           LayerTape* tape) {
  at::Tensor qkv = raw.clone();
  const std::int64_t q_stats = raw.size(0) * config.heads * 2;
  const std::int64_t k_stats = raw.size(0) * config.kv_heads * 2;
  at::Tensor stats = at::empty({q_stats + k_stats}, raw.options());
  norm_into(head_norm_shape(config, raw, w.q_norm, config.heads), raw, w.q_norm, {}, qkv,
            stats.narrow(0, 0, q_stats));
  const std::int64_t at = config.q_width();
  norm_into(head_norm_shape(config, raw, w.k_norm, config.kv_heads),
            raw.narrow(1, at, config.kv_width()), w.k_norm, {},
            qkv.narrow(1, at, config.kv_width()), stats.narrow(0, q_stats, k_stats));
  if (tape != nullptr) tape->qkv_raw = raw, tape->qk_stats = stats;
  return qkv;
}

}  // namespace

at::Tensor attention_forward(const BlockContext& context, std::int64_t layer,
                             const at::Tensor& normed, LayerTape* tape) {
  const ModelConfig& config = context.decoder.config();
  at::Tensor qkv = group_forward(context, layer, Group::kAttentionIn, normed);
  if (config.qk_norm) {
    qkv = normalize_heads(config, context.decoder.weights().layers[static_cast<std::size_t>(layer)],
                          qkv, tape);
  }
  rotate(config, qkv, context.rope.cosine, context.rope.sine, false);
  at::Tensor out = at::empty({qkv.size(0), config.q_width()}, qkv.options());
  at::Tensor lse;
  if (tape != nullptr) lse = at::empty({qkv.size(0), config.heads}, qkv.options());
  std::int64_t row = 0;
  for (const Segment& segment : context.batch.segments) {
    if (segment.length > 0) attend_segment(config, layer, segment, row, qkv, out, lse);
    row += segment.length;
  }
  if (tape != nullptr) tape->qkv = qkv, tape->attention = out, tape->lse = lse;
  return group_forward(context, layer, Group::kAttentionOut, out);
}

at::Tensor mlp_forward(const BlockContext& context, std::int64_t layer, const at::Tensor& normed,
                       LayerTape* tape) {
  const at::Tensor inner = group_forward(context, layer, Group::kMlpIn, normed);
  if (tape != nullptr) tape->inner = inner;
  return group_forward(context, layer, Group::kMlpOut, activate(context.decoder.config(), inner));
}

at::Tensor block_forward(const BlockContext& context, std::int64_t layer, const at::Tensor& x) {
  const ModelConfig& config = context.decoder.config();
  const LayerWeights& w = context.decoder.weights().layers[static_cast<std::size_t>(layer)];
  LayerTape* tape =
      context.tape != nullptr ? &context.tape->layers[static_cast<std::size_t>(layer)] : nullptr;
  const NormShape shape = norm_shape(config, x);
  NormResult n1 = norm_forward(shape, x, w.norm1, w.norm1_bias);
  at::Tensor attended = attention_forward(context, layer, n1.y, tape);
  if (tape != nullptr) tape->x = x, tape->stats1 = n1.stats;
  if (config.parallel_block) {
    at::Tensor mlp = mlp_forward(context, layer, n1.y, tape);
    return mlp.add_(attended).add_(x);
  }
  if (config.sandwich_norms) {
    NormResult post = norm_forward(shape, attended, w.post_attention_norm, {});
    if (tape != nullptr) tape->projected = attended, tape->post1_stats = post.stats;
    attended = post.y;
  }
  at::Tensor x_mid = attended.add_(x);
  NormResult n2 = norm_forward(shape, x_mid, w.norm2, w.norm2_bias);
  at::Tensor mlp = mlp_forward(context, layer, n2.y, tape);
  if (tape != nullptr) tape->x_mid = x_mid, tape->stats2 = n2.stats;
  if (config.sandwich_norms) {
    NormResult post = norm_forward(shape, mlp, w.post_mlp_norm, {});
    if (tape != nullptr) tape->mlp = mlp, tape->post2_stats = post.stats;
    mlp = post.y;
  }
  return mlp.add_(x_mid);
}

namespace {

Status check_batch(const Decoder& decoder, const Batch& batch) {
  const ModelConfig& config = decoder.config();
  std::int64_t total = 0;
  for (const Segment& segment : batch.segments) {
    for (const RowRange& range : segment.before) {
      CHECK(range.begin >= 0 && range.begin + range.length <= total &&
                (segment.cache == nullptr || segment.cache->length() == 0),
            "a segment goes on from earlier rows or from its cache");
    }
    total += segment.length;
  }
  CHECK(total == static_cast<std::int64_t>(batch.ids.size()) &&
            batch.ids.size() == batch.positions.size(),
        "a batch's segments cover its tokens");
  for (const auto id : batch.ids) {
    if (id < 0 || id >= config.vocab) {
      return fail(Code::kInvalid, "token id " + std::to_string(id) +
                                      " is outside the vocabulary of " +
                                      std::to_string(config.vocab));
    }
  }
  for (const auto position : batch.positions) {
    if (position < 0 || (config.learned_positions && position >= config.max_positions)) {
      return fail(Code::kInvalid, "position " + std::to_string(position) +
                                      " is outside the context of " +
                                      std::to_string(config.max_positions));
    }
  }
  return {};
}

at::Tensor rows_of(const at::Tensor& table, const std::vector<std::int64_t>& indices,
                   at::ScalarType type) {
  return table.index_select(0, index_on(table, indices)).to(type);
}

}  // namespace

Result<at::Tensor> Decoder::forward(const Batch& batch, Tape* tape) const {
  const ComputeScope scope;
  TRIMTAB_CHECK_OK(check_batch(*this, batch));
  const at::ScalarType type = weights_.final_norm.scalar_type();
  at::Tensor x = rows_of(weights_.embedding, batch.ids, type);
  if (config_.embedding_scale != 1.0) x.mul_(config_.embedding_scale);
  if (config_.learned_positions) x.add_(rows_of(weights_.positions, batch.positions, type));
  RopeTables rope = rope_tables(config_, batch, x);
  if (tape != nullptr) {
    tape->layers.assign(static_cast<std::size_t>(config_.layers), {});
    tape->cosine = rope.cosine;
    tape->sine = rope.sine;
  }
  const bool keep = tape != nullptr && !tape->checkpoint;
  const BlockContext context{*this, batch, adapter_spans(batch), rope, keep ? tape : nullptr};
  for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
    if (tape != nullptr) tape->layers[static_cast<std::size_t>(layer)].x = x;
    x = block_forward(context, layer, x);
  }
  for (const Segment& segment : batch.segments) {
    if (segment.cache == nullptr) continue;
    segment.cache->advance(segment.length);
    for (const RowRange& range : segment.before) segment.cache->advance(range.length);
  }
  NormResult final =
      norm_forward(norm_shape(config_, x), x, weights_.final_norm, weights_.final_norm_bias);
  if (tape != nullptr) tape->final_x = x, tape->final_stats = final.stats;
  return final.y;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  const ComputeScope scope;
  at::Tensor y = project(hidden, weights_.head);
  if (config_.logit_scale != 1.0) y.mul_(config_.logit_scale);
  if (config_.final_softcap > 0) y.div_(config_.final_softcap).tanh_().mul_(config_.final_softcap);
  return y;
}

}  // namespace trimtab::model
