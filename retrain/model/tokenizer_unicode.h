// The Unicode facts the tokenizer needs: UTF-8, normal forms, a few character classes.
//
// Normal forms come from utf8proc. Thread-safe, no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trimtab::model {

inline constexpr char32_t kReplacement = 0xFFFD;

// Reads the code point at `at` of valid UTF-8 and moves `at` past it. REQUIRES: at < text.size().
char32_t next_code_point(std::string_view text, std::size_t& at);
void append_code_point(std::string& out, char32_t code_point);

[[nodiscard]] bool valid_utf8(std::string_view text);
// U+FFFD for each maximal bad sequence, as Rust's String::from_utf8_lossy and Python's
// errors="replace".
[[nodiscard]] std::string lossy_utf8(std::string_view bytes);
// Bytes at the end that may still become a character when more follow (0 to 3).
[[nodiscard]] std::size_t incomplete_tail(std::string_view bytes);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
[[nodiscard]] std::string normalize(std::string_view text, NormalForm form);
[[nodiscard]] std::string lowercase(std::string_view text);

[[nodiscard]] bool is_white_space(char32_t c);  // property White_Space
[[nodiscard]] bool is_numeric(char32_t c);      // categories Nd, Nl, No
[[nodiscard]] bool is_alphabetic(char32_t c);   // categories L*, as Python's str.isalpha
[[nodiscard]] bool is_punctuation(char32_t c);  // as the pre-tokenizer Punctuation has it
[[nodiscard]] bool is_word(char32_t c);         // Alphabetic, M, Nd, Pc, Join_Control: Rust's \w

}  // namespace trimtab::model
