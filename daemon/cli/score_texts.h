// Texts and references of `score-text`, and the metrics of it that need no reference implementation
// (score_plain.cpp); the others are in score_command.cpp.
#pragma once

#include <algorithm>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "drift/parameters.h"
#include "shadow/text/unicode_text.h"

namespace trimtab::cli {

using Lines = std::vector<shadow::Text>;

struct Texts {
  Lines hypotheses;
  std::vector<Lines> references;  // each as many lines as hypotheses
};

// Mean over lines of the best reference's value.
template <typename Score>
[[nodiscard]] OrderedJson best_of_references(const Texts& texts, const Score& score) {
  double sum = 0.0;
  for (std::size_t i = 0; i < texts.hypotheses.size(); ++i) {
    double best = 0.0;
    for (const Lines& reference : texts.references) {
      best = std::max(best, score(texts.hypotheses[i], reference[i]));
    }
    sum += best;
  }
  return OrderedJson{{"score", sum / static_cast<double>(texts.hypotheses.size())}};
}

[[nodiscard]] Result<OrderedJson> run_perplexity(const drift::Parameters& given,
                                                 const Texts& texts);
[[nodiscard]] Result<OrderedJson> run_refusal(const drift::Parameters& given, const Texts& texts);
[[nodiscard]] Result<OrderedJson> run_length(const drift::Parameters& given, const Texts& texts);
[[nodiscard]] Result<OrderedJson> run_embedding_cosine(const drift::Parameters& given,
                                                       const Texts& texts);

}  // namespace trimtab::cli
