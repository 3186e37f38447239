// The head and its losses in chunks of rows, so that logits never exist for a whole batch.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "retrain/model/backward.h"
#include "retrain/model/compat.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {
namespace {

// 48 MiB of fp32 logits a chunk. The head's product packs the whole [vocab, hidden] matrix once a
// call: with 42 rows it runs at half the rate that it has from 128 on.
constexpr std::int64_t kChunkElements = 12 << 20;
constexpr std::int64_t kLeastChunkRows = 128;
constexpr std::int64_t kMostChunkRows = 1024;

std::int64_t chunk_rows(const ModelConfig& config) {
  return std::clamp(kChunkElements / config.vocab, kLeastChunkRows, kMostChunkRows);
}

at::Tensor index_of(const std::vector<HeadRow>& rows, std::size_t begin, std::size_t end,
                    bool labels) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(end - begin)}, at::kLong);
  auto* out = index.data_ptr<std::int64_t>();
  for (std::size_t i = begin; i < end; ++i) *out++ = labels ? rows[i].label : rows[i].row;
  return index;
}

// d(logits) after cap and scale -> d(raw logits), in place; `logits` are the final ones.
void through_cap(const ModelConfig& config, const at::Tensor& logits, at::Tensor& gradient) {
  if (config.final_softcap > 0) {
    const at::Tensor t = logits.div(config.final_softcap);
    gradient.mul_(t.mul(t).neg_().add_(1.0));
  }
  if (config.logit_scale != 1.0) gradient.mul_(config.logit_scale);
}

struct Chunk {
  at::Tensor index;   // rows of the batch
  at::Tensor hidden;  // [n, hidden]
  at::Tensor logits;  // [n, vocab]
  at::Tensor labels;  // [n]
  at::Tensor lse;     // [n]
};

Chunk make_chunk(const Decoder& decoder, const at::Tensor& hidden, const std::vector<HeadRow>& rows,
                 std::size_t begin, std::size_t end) {
  Chunk chunk;
  chunk.index = index_of(rows, begin, end, false);
  chunk.labels = index_of(rows, begin, end, true);
  chunk.hidden = hidden.index_select(0, chunk.index);
  chunk.logits = decoder.logits(chunk.hidden);
  chunk.lse = at::empty({chunk.logits.size(0)}, chunk.logits.options());
  by_type(chunk.logits, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().log_sum_exp(chunk.logits.size(0), chunk.logits.size(1), ptr<T>(chunk.logits),
                             ptr<T>(chunk.lse));
  });
  return chunk;
}

void append_logprobs(const Chunk& chunk, double sign, std::vector<double>& out) {
  by_type(chunk.logits, [&](auto zero) {
    using T = decltype(zero);
    const T* logits = ptr<T>(chunk.logits);
    const T* lse = ptr<T>(chunk.lse);
    const auto* labels = chunk.labels.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < chunk.logits.size(0); ++i) {
      out.push_back(sign * (static_cast<double>(logits[i * chunk.logits.size(1) + labels[i]]) -
                            static_cast<double>(lse[i])));
    }
  });
}

void push_down(const Decoder& decoder, const Chunk& chunk, const at::Tensor& gradient,
               at::Tensor& d_hidden, Gradients& gradients) {
  d_hidden.index_add_(0, chunk.index, project_gradient(gradient, decoder.weights().head));
  if (gradients.full != nullptr) gradients.full->head.addmm_(gradient.t(), chunk.hidden);
}

template <typename F>
void for_chunks(const Decoder& decoder, std::size_t rows, F&& f) {
  const auto step = static_cast<std::size_t>(chunk_rows(decoder.config()));
  for (std::size_t begin = 0; begin < rows; begin += step) f(begin, std::min(rows, begin + step));
}

at::Tensor weight_tensor(const std::vector<double>& weights, std::size_t begin, std::size_t end,
                         at::ScalarType type) {
  at::Tensor result = at::empty({static_cast<std::int64_t>(end - begin)}, type);
  by_type(result, [&](auto zero) {
    using T = decltype(zero);
    std::transform(weights.begin() + static_cast<std::ptrdiff_t>(begin),
                   weights.begin() + static_cast<std::ptrdiff_t>(end), ptr<T>(result),
                   [](double w) { return static_cast<T>(w); });
  });
  return result;
}

// logits -> weight * (softmax - onehot(label)); without labels weight * softmax.
void to_softmax_gradient(at::Tensor& logits, const at::Tensor& lse, const at::Tensor& labels,
                         const at::Tensor& weights) {
  by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().softmax_gradient(logits.size(0), logits.size(1), ptr<T>(logits), ptr<T>(lse),
                                  labels.defined() ? labels.data_ptr<std::int64_t>() : nullptr,
                                  ptr<T>(weights));
  });
}

}  // namespace

std::vector<double> label_logprobs(const Decoder& decoder, const at::Tensor& hidden,
                                   const std::vector<HeadRow>& rows) {
  const ComputeScope scope;
  std::vector<double> result;
  for_chunks(decoder, rows.size(), [&](std::size_t begin, std::size_t end) {
    append_logprobs(make_chunk(decoder, hidden, rows, begin, end), 1.0, result);
  });
  return result;
}

std::vector<double> cross_entropy(const Decoder& decoder, const at::Tensor& hidden,
                                  const std::vector<HeadRow>& rows,
                                  const std::vector<double>& weights, at::Tensor& d_hidden,
                                  Gradients& gradients) {
  const ComputeScope scope;
  std::vector<double> losses;
  for_chunks(decoder, rows.size(), [&](std::size_t begin, std::size_t end) {
    Chunk chunk = make_chunk(decoder, hidden, rows, begin, end);
    append_logprobs(chunk, -1.0, losses);
    const bool capped = decoder.config().final_softcap > 0;
    at::Tensor gradient = capped ? chunk.logits.clone() : chunk.logits;
    to_softmax_gradient(gradient, chunk.lse, chunk.labels,
                        weight_tensor(weights, begin, end, gradient.scalar_type()));
    through_cap(decoder.config(), chunk.logits, gradient);
    push_down(decoder, chunk, gradient, d_hidden, gradients);
  });
  return losses;
}

std::vector<double> kl_divergence(const Decoder& decoder, const at::Tensor& hidden,
                                  const std::vector<HeadRow>& rows, const at::Tensor& reference,
                                  const std::vector<double>& weights, at::Tensor& d_hidden,
                                  Gradients& gradients) {
  const ComputeScope scope;
  std::vector<double> losses;
  for_chunks(decoder, rows.size(), [&](std::size_t begin, std::size_t end) {
    Chunk chunk = make_chunk(decoder, hidden, rows, begin, end);
    const auto n = static_cast<std::int64_t>(end - begin);
    Chunk other;
    other.logits = decoder.logits(reference.narrow(0, static_cast<std::int64_t>(begin), n));
    other.lse = at::empty({n}, other.logits.options());
    by_type(other.logits, [&](auto zero) {
      using T = decltype(zero);
      kernels<T>().log_sum_exp(n, other.logits.size(1), ptr<T>(other.logits), ptr<T>(other.lse));
    });
    const bool capped = decoder.config().final_softcap > 0;
    at::Tensor gradient = capped ? chunk.logits.clone() : chunk.logits;
    const at::Tensor w = weight_tensor(weights, begin, end, gradient.scalar_type());
    by_type(gradient, [&](auto zero) {
      using T = decltype(zero);
      const auto at = losses.size();
      losses.resize(at + end - begin);
      kernels<T>().kl_gradient(n, gradient.size(1), ptr<T>(gradient), ptr<T>(chunk.lse),
                               ptr<T>(other.logits), ptr<T>(other.lse), ptr<T>(w), &losses[at]);
    });
    through_cap(decoder.config(), chunk.logits, gradient);
    push_down(decoder, chunk, gradient, d_hidden, gradients);
  });
  return losses;
}

}  // namespace trimtab::model
