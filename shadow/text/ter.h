// Translation edit rate (Snover et al. 2006): edits (insert, delete, substitute, shift a phrase)
// a reference word, with Tercom's search and sacrebleu 2.6's limits (shifts of at most 10 words
// over at most 50, 1,000 candidates a line, a beam of 25 around the diagonal). Lower is better;
// in percent. Pure. Time a line: candidates x words x beam.
#pragma once

#include <span>

#include "shadow/text/tokenizers.h"

namespace trimtab::shadow {

// references[k][i] is the k-th reference of hypotheses[i]: the fewest edits count, over the mean
// length. REQUIRES: all of one length.
[[nodiscard]] double ter(std::span<const Text> hypotheses,
                         std::span<const std::vector<Text>> references,
                         const TercomOptions& options);

}  // namespace trimtab::shadow
