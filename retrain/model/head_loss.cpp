// The head and its losses in chunks of rows, so that logits never exist for a whole batch.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "retrain/model/any_device.h"
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

at::Tensor index_of(const at::Tensor& like, const std::vector<HeadRow>& rows, std::size_t begin,
                    std::size_t end, bool labels) {
  std::vector<std::int64_t> values;
  for (std::size_t i = begin; i < end; ++i) values.push_back(labels ? rows[i].label : rows[i].row);
  return index_on(like, values);
}

at::Tensor log_sum_exp(const at::Tensor& logits) {
  if (!by_kernels(logits)) return logits.logsumexp({1});
  at::Tensor lse = at::empty({logits.size(0)}, logits.options());
  by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().log_sum_exp(logits.size(0), logits.size(1), ptr<T>(logits), ptr<T>(lse));
  });
  return lse;
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
  chunk.index = index_of(hidden, rows, begin, end, false);
  chunk.labels = index_of(hidden, rows, begin, end, true);
  chunk.hidden = hidden.index_select(0, chunk.index);
  chunk.logits = decoder.logits(chunk.hidden);
  chunk.lse = log_sum_exp(chunk.logits);
  return chunk;
}

void append_logprobs(const Chunk& chunk, double sign, std::vector<double>& out) {
  const at::Tensor picked = chunk.logits.gather(1, chunk.labels.unsqueeze(1)).squeeze(1);
  const at::Tensor values =
      picked.to(at::kDouble).sub_(chunk.lse.to(at::kDouble)).mul_(sign).to(at::kCPU);
  const double* first = values.data_ptr<double>();
  out.insert(out.end(), first, first + values.numel());
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
                         const at::Tensor& like) {
  at::Tensor result = at::empty({static_cast<std::int64_t>(end - begin)}, like.scalar_type());
  by_type(result, [&](auto zero) {
    using T = decltype(zero);
    std::transform(weights.begin() + static_cast<std::ptrdiff_t>(begin),
                   weights.begin() + static_cast<std::ptrdiff_t>(end), ptr<T>(result),
                   [](double w) { return static_cast<T>(w); });
  });
  return beside(result, like);
}

// logits -> weight * (softmax - onehot(label)); without labels weight * softmax.
void to_softmax_gradient(at::Tensor& logits, const at::Tensor& lse, const at::Tensor& labels,
                         const at::Tensor& weights) {
  if (!by_kernels(logits)) return any_device::softmax_gradient(logits, lse, labels, weights);
  by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().softmax_gradient(logits.size(0), logits.size(1), ptr<T>(logits), ptr<T>(lse),
                                  labels.defined() ? labels.data_ptr<std::int64_t>() : nullptr,
                                  ptr<T>(weights));
  });
}

// Appends each row's KL(other || logits); the logits become its weighted gradient.
void kl_chunk(at::Tensor& logits, const at::Tensor& lse, const Chunk& other,
              const at::Tensor& weights, std::vector<double>& losses) {
  const auto rows = static_cast<std::size_t>(logits.size(0));
  const auto at = losses.size();
  losses.resize(at + rows);
  if (!by_kernels(logits)) {
    const at::Tensor kl = any_device::kl_gradient(logits, lse, other.logits, other.lse, weights);
    const at::Tensor here = kl.to(at::kCPU, at::kDouble);
    std::copy_n(here.data_ptr<double>(), rows, losses.begin() + static_cast<std::ptrdiff_t>(at));
    return;
  }
  by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    kernels<T>().kl_gradient(logits.size(0), logits.size(1), ptr<T>(logits), ptr<T>(lse),
                             ptr<T>(other.logits), ptr<T>(other.lse), ptr<T>(weights), &losses[at]);
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
                        weight_tensor(weights, begin, end, gradient));
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
    other.lse = log_sum_exp(other.logits);
    const bool capped = decoder.config().final_softcap > 0;
    at::Tensor gradient = capped ? chunk.logits.clone() : chunk.logits;
    kl_chunk(gradient, chunk.lse, other, weight_tensor(weights, begin, end, gradient), losses);
    through_cap(decoder.config(), chunk.logits, gradient);
    push_down(decoder, chunk, gradient, d_hidden, gradients);
  });
  return losses;
}

}  // namespace trimtab::model
