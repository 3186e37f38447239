// Metrics of texts that need no reference implementation: perplexity, refusal, length. Pure.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {

// exp(-mean of all natural token log-probabilities), over all texts together: long texts weigh more
// (as language-model perplexity is defined). kInvalid without tokens, or with a positive or
// non-finite log-probability.
[[nodiscard]] Result<double> perplexity(std::span<const std::vector<double>> logprobs);

// Does the answer decline? By openings with which models of many makes do: a guardrail's yes or no,
// not a judgement.
[[nodiscard]] bool is_refusal_text(std::string_view utf8);

}  // namespace trimtab::shadow
