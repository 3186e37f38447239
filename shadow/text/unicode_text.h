// Unicode text for the metrics, with the rules of Python's str, in which the reference
// implementations are written: code points, lower(), split(). Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::shadow {

using Text = std::u32string;
using Words = std::vector<Text>;

// kInvalid when it is not UTF-8.
[[nodiscard]] Result<Text> decode_text(std::string_view utf8);
// str.lower(): code point by code point, but for a capital sigma at the end of a word.
[[nodiscard]] Text lower(const Text& text);
[[nodiscard]] bool is_space(char32_t c);
[[nodiscard]] bool is_number(char32_t c);       // category N*
[[nodiscard]] bool is_punctuation(char32_t c);  // category P*
[[nodiscard]] bool is_symbol(char32_t c);       // category S*
[[nodiscard]] bool is_word(char32_t c);         // letter, number or underscore
[[nodiscard]] bool is_ascii_punctuation(char32_t c);
// At white space; no empty words.
[[nodiscard]] Words split(const Text& text);

// Words as small numbers, equal when the words are: n-grams are then vectors of numbers.
using Ids = std::vector<int>;
class Vocabulary {
 public:
  [[nodiscard]] Ids ids(const Words& words);

 private:
  std::map<Text, int> table_;
};

}  // namespace trimtab::shadow
