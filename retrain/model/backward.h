// The hand-written backward of the decoder: from the gradient at the final hidden states to the
// gradients of LoRA (base frozen: no dW, 4N instead of 6N a token) or of every weight (pretrain).
//
// No autograd: the tape (tape.h) keeps what cannot be had again cheaply, the rest is recomputed.
// Gradients are *added* to the buffers, so micro-batches accumulate. Single-threaded; each training
// lane has buffers of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "retrain/model/decoder.h"
#include "retrain/model/tape.h"

namespace trimtab::model {

struct Gradients {
  at::Tensor lora;          // flat, as Adapter::parameters; undefined: none wanted
  Weights* full = nullptr;  // same shapes as the decoder's weights; null: the base is frozen
};

// REQUIRES: `tape` comes from decoder.forward(batch, &tape) with the same arguments; every segment
// of the batch uses `adapter` (null with full gradients only). d_hidden [N, hidden] is the gradient
// at forward's result; it is consumed.
void backward(const Decoder& decoder, const Batch& batch, const Adapter* adapter, Tape& tape,
              at::Tensor d_hidden, Gradients& gradients);

// What the head and the loss want from a row of hidden states.
struct HeadRow {
  std::int64_t row = 0;    // in the flat batch
  std::int64_t label = 0;  // the token that follows
};

// Log-probabilities of the labels, [rows] (double: sums of many are compared).
[[nodiscard]] std::vector<double> label_logprobs(const Decoder& decoder, const at::Tensor& hidden,
                                                 const std::vector<HeadRow>& rows);

// Softmax cross-entropy in chunks of rows: adds weight_i * d(-log p_i) to d_hidden (and to the
// head's gradient), answers -log p_i. Masked rows are simply not in the list.
[[nodiscard]] std::vector<double> cross_entropy(const Decoder& decoder, const at::Tensor& hidden,
                                                const std::vector<HeadRow>& rows,
                                                const std::vector<double>& weights,
                                                at::Tensor& d_hidden, Gradients& gradients);

// KL(reference || model) of each row, weighted, gradient added to d_hidden. `reference` [rows,
// hidden] are the reference model's final hidden states of these rows (same head).
[[nodiscard]] std::vector<double> kl_divergence(const Decoder& decoder, const at::Tensor& hidden,
                                                const std::vector<HeadRow>& rows,
                                                const at::Tensor& reference,
                                                const std::vector<double>& weights,
                                                at::Tensor& d_hidden, Gradients& gradients);

}  // namespace trimtab::model
