// Trains a byte-level BPE tokenizer and writes it as a tokenizer.json that Hugging Face's
// `tokenizers` and model::Tokenizer both read.
//
// Method: Sennrich et al. 2016 (arXiv:1508.07909) on GPT-2's byte alphabet (all 256 bytes, so that
// no text is unknown) and GPT-2's regular expression; digits one by one as SmolLM2 does. The most
// frequent pair is merged first; equal counts are broken by the smaller ids, so the result depends
// on nothing but the texts and the settings.
//
// Memory: the distinct words of the texts and their pairs. Called by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

struct BpeTrainerSettings {
  // Special tokens included. 2,000 fits the demo's few thousand sentences (issue: "vocabulary
  // 2,000").
  std::int64_t vocab_size = 2000;
  // A pair seen less often is not worth an entry; `tokenizers` has 0, 2 keeps one-off names out.
  std::int64_t min_frequency = 2;
  // Take the ids 0, 1, ..; matched before normalization, dropped by skip_special.
  std::vector<std::string> special_tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
};

// The tokenizer.json's text. kInvalid when vocab_size does not hold the 256 bytes and the special
// tokens, or when a special token is empty or given twice. Fewer merges than asked for is no error:
// small texts run out of pairs.
[[nodiscard]] Result<std::string> train_bpe(std::span<const std::string> texts,
                                            const BpeTrainerSettings& settings);

}  // namespace trimtab::model
