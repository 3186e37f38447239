// Short answers: exact match and token F1 (SQuAD 1.1's rule: lower case, ASCII punctuation and
// the words a, an, the removed), and how varied or repetitive texts are. In 0..1. Pure.
#pragma once

#include <span>

#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {

[[nodiscard]] Words squad_words(const Text& text);
// F1 of the words both have, as bags; 0 when they share none.
[[nodiscard]] double token_f1(const Words& prediction, const Words& answer);

// Distinct n-grams over n-grams, of all lines together. kInvalid when no line has n words.
[[nodiscard]] Result<double> distinct_ngrams(std::span<const Text> lines, int n);
// Mean over lines of 1 - distinct/total; lines shorter than n are skipped, kInvalid when all are.
[[nodiscard]] Result<double> repetition(std::span<const Text> lines, int n);

}  // namespace trimtab::shadow
