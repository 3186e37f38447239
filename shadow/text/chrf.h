// Corpus chrF and chrF++ (Popovic 2015, 2017) as sacrebleu 2.6 computes them: F-score of
// character n-grams, and of word n-grams when word_order > 0; the best reference of each line.
// In 0..100. Pure.
#pragma once

#include <span>

#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {

struct ChrfOptions {
  int char_order = 6;
  int word_order = 0;  // 2: chrF++
  double beta = 2.0;
  bool lowercase = false;
  bool whitespace = false;  // count white space as characters
  bool eps_smoothing = false;
};

// references[k][i] is the k-th reference of hypotheses[i]. REQUIRES: all of one length.
[[nodiscard]] double chrf(std::span<const Text> hypotheses,
                          std::span<const std::vector<Text>> references,
                          const ChrfOptions& options);

}  // namespace trimtab::shadow
