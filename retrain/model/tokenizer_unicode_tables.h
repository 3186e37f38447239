// Character classes as `tokenizers` has them (generated: tests/retrain/make_unicode_tables.py).
// Thread-safe, no state.
#pragma once

namespace trimtab::model {

[[nodiscard]] bool in_word_table(char32_t c);
[[nodiscard]] bool in_punctuation_table(char32_t c);
[[nodiscard]] bool in_whole_table(char32_t c);       // NFKC and NFKD leave it as it is
[[nodiscard]] char32_t newer_lower_case(char32_t c);  // c itself: not newer than Unicode 14

}  // namespace trimtab::model
