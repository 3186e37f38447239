// One decoder block, forward, in the pieces that the backward and checkpointing run again.
// Internal to the model; see decoder.h for the batch's layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "retrain/model/decoder.h"
#include "retrain/model/tape.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {

// Rows [begin, begin + rows) of the flat batch use this adapter (null: the bare base).
struct AdapterSpan {
  const Adapter* adapter = nullptr;
  std::int64_t begin = 0;
  std::int64_t rows = 0;
};
[[nodiscard]] std::vector<AdapterSpan> adapter_spans(const Batch& batch);

struct BlockContext {
  const Decoder& decoder;
  const Batch& batch;
  std::vector<AdapterSpan> spans;
  RopeTables rope;
  Tape* tape;  // null: keep nothing
};

// The columns' rows of a segment that begins at `row`, behind those that it goes on from.
[[nodiscard]] at::Tensor with_before(const Segment& segment, std::int64_t row,
                                     const at::Tensor& columns);
// x [N, in] -> [N, out] with bias and adapters.
[[nodiscard]] at::Tensor group_forward(const BlockContext& context, std::int64_t layer, Group group,
                                       const at::Tensor& x);
[[nodiscard]] at::Tensor attention_forward(const BlockContext& context, std::int64_t layer,
                                           const at::Tensor& normed, LayerTape* tape);
[[nodiscard]] at::Tensor mlp_forward(const BlockContext& context, std::int64_t layer,
                                     const at::Tensor& normed, LayerTape* tape);
// Residual in, residual out, [N, hidden].
[[nodiscard]] at::Tensor block_forward(const BlockContext& context, std::int64_t layer,
                                       const at::Tensor& x);
// x A^T with each site's own dropout mask on x.
[[nodiscard]] at::Tensor dropped_low(const Tape& tape, const Adapter& adapter,
                                     const GroupSites& sites, std::int64_t layer, Group group,
                                     const at::Tensor& rows);

}  // namespace trimtab::model
