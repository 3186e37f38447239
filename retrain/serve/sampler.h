// Chooses the next token from one row of logits. No torch: plain floats.
//
// temperature 0 is greedy (the lowest id among equals). Otherwise logits / temperature, then top_k,
// then top_p (nucleus: the fewest most likely tokens whose probability reaches top_p; Holtzman et
// al. 2020, arXiv:1904.09751), then one draw. Logprobs are of the raw logits, as vLLM reports them.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"

namespace trimtab::serve {

struct Sampling {
  double temperature = 1.0;  // OpenAI's default
  double top_p = 1.0;
  std::int64_t top_k = 0;  // 0: all
  bool logprobs = false;   // of the chosen token
  int top_logprobs = 0;    // and of this many most likely ones
};

struct Chosen {
  std::int64_t id = 0;
  double logprob = 0.0;                              // only with logprobs
  std::vector<std::pair<std::int64_t, double>> top;  // most likely first
};

[[nodiscard]] Chosen choose(std::span<const float> logits, const Sampling& sampling,
                            Random& random);
// log softmax(logits)[id].
[[nodiscard]] double log_probability(std::span<const float> logits, std::int64_t id);

}  // namespace trimtab::serve
