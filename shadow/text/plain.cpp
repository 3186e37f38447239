#include "shadow/text/plain.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace trimtab::shadow {

Result<double> perplexity(std::span<const std::vector<double>> logprobs) {
  double sum = 0.0;
  std::size_t tokens = 0;
  for (const auto& text : logprobs) {
    for (const double logprob : text) {
      if (!(logprob <= 0.0) || !std::isfinite(logprob)) {
        return fail(Code::kInvalid, "a log-probability is a finite number, 0 at most");
      }
      sum += logprob;
      ++tokens;
    }
  }
  if (tokens == 0) return fail(Code::kInvalid, "no token, no perplexity");
  return std::exp(-sum / static_cast<double>(tokens));
}

bool is_refusal_text(std::string_view utf8) {
  static constexpr std::array<std::string_view, 8> kOpenings = {
      "I'm sorry, but I can", "I\u2019m sorry, but I can", "I cannot ", "I can't assist",
      "I can\u2019t assist",  "I can't help with",         "As an AI",  "I am unable to"};
  return std::any_of(kOpenings.begin(), kOpenings.end(),
                     [&](std::string_view opening) { return utf8.starts_with(opening); });
}

}  // namespace trimtab::shadow
