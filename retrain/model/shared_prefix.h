// Documents of one forward that begin alike compute their common tokens once.
//
// Prompts share a system prompt, a template's opening, the two answers of a preference pair their
// whole prompt, fifteen labels the text before them. Causal attention makes a prefix's rows the
// same in each, so the batch is a tree of segments (decoder.h, Segment::before) instead of a list;
// the backward adds up what all branches say about the trunk. The numbers are those of separate
// documents up to the order of sums. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "retrain/model/decoder.h"

namespace trimtab::model {

struct SharedBatch {
  Batch batch;
  // rows[d][t]: the row of the flat batch that holds token t of document d.
  std::vector<std::vector<std::int64_t>> rows;
};

// A trunk shorter than this is not worth a segment of its own.
inline constexpr std::int64_t kLeastShared = 8;

// Where a document has a segment of its own end (not where it is another's beginning), `caches[d]`
// (empty list: none) is filled with the whole document's keys and values.
using Caches = std::vector<KvSequence*>;

// All documents of one adapter (null: the bare base). `share` false: one segment a document, in
// order. REQUIRES: no document is empty.
[[nodiscard]] SharedBatch share_prefixes(
    const std::vector<std::span<const std::int64_t>>& documents, const Adapter* adapter,
    bool share = true);
// The same, appended to a batch that holds other documents (other adapters) already.
void append_shared(const std::vector<std::span<const std::int64_t>>& documents,
                   const Adapter* adapter, bool share, const Caches& caches, SharedBatch& out);

// Whether sharing is exact: not where RoPE depends on the document's length.
[[nodiscard]] bool can_share(const ModelConfig& config);

}  // namespace trimtab::model
