// TextStats: the counts that the text descriptors come from, of UTF-8, in one pass of 16 to 64 bytes
// a step, by what the processor has. Pure, any thread, no allocation.
#pragma once

#include <string_view>
#include <vector>

namespace trimtab::drift {

// A word is a longest stretch of ASCII letters, digits and bytes beyond ASCII.
struct TextStats {
  double chars = 0.0;  // code points: bytes that are no continuation
  double words = 0.0;
  double word_chars = 0.0;  // code points within words
  double digits = 0.0;      // ASCII, as are the next two
  double upper = 0.0;
  double punctuation = 0.0;
  double non_ascii = 0.0;  // code points beyond ASCII
};

[[nodiscard]] TextStats text_stats(std::string_view text);

// All that this processor can run, the fastest first; they agree.
using TextStatsWay = TextStats (*)(std::string_view text);
[[nodiscard]] std::vector<TextStatsWay> text_stats_ways();

}  // namespace trimtab::drift
