// What a text is, as far as training must know: its language, whether it is broken or repeats
// itself, and names to be blacked out. Word lists and character classes, no models: fast,
// deterministic, and silent where it cannot tell. Invalid UTF-8 counts as broken. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trimtab::retrain {

// ISO 639-1 code: by script (ru uk el he ar hi th ko ja zh), for Latin script by function words
// (en de fr es it pt nl pl sv tr; at least two of them and half as many again as the next language
// has). Empty: cannot tell, as with most short texts.
[[nodiscard]] std::string language_of(std::string_view text);

// Why a text is not fit to train on, else null. "broken_text": more than 1 % control characters,
// U+FFFD or invalid UTF-8. From 20 words on, rules of MassiveText (Rae et al. 2021, appendix A1):
// "word_length" mean outside 2..12 characters, "few_words" under 60 % of the words hold a letter,
// "repetition" one pair of words makes up over 20 % of the characters, or one run of four words
// over 16 %, or over 30 % of the lines (of 4 and more) are repeats.
[[nodiscard]] const char* quality_problem(std::string_view text);

// Each whole word (or run of words) that equals one of `names`, ASCII case ignored, as [NAME].
[[nodiscard]] std::string redact_names(std::string_view text,
                                       const std::vector<std::string>& names);

}  // namespace trimtab::retrain
