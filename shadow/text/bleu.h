// Corpus BLEU (Papineni et al. 2002) as sacrebleu 2.6 computes it: n-grams of 1..4 words,
// clipped by the largest count in any reference, closest reference length, brevity penalty.
// Smoothing: exp (mteval), floor, add-k, none (Chen and Cherry 2014). In 0..100. Pure.
#pragma once

#include <array>
#include <span>

#include "shadow/text/tokenizers.h"

namespace trimtab::shadow {

enum class Smoothing { kExp, kFloor, kAddK, kNone };

struct BleuOptions {
  Tokenizer tokenizer = Tokenizer::k13a;
  Smoothing smoothing = Smoothing::kExp;
  double smooth_value = 0.1;  // floor: .1; add-k: 1
  bool lowercase = false;
  bool effective_order = false;
};

struct Bleu {
  double score = 0.0;
  std::array<double, 4> precisions{};
  double brevity_penalty = 1.0;
};

// references[k][i] is the k-th reference of hypotheses[i]. REQUIRES: all of one length.
[[nodiscard]] Bleu bleu(std::span<const Text> hypotheses,
                        std::span<const std::vector<Text>> references, const BleuOptions& options);

}  // namespace trimtab::shadow
