#include "shadow/text/unicode_text.h"

#include <utf8proc.h>

namespace trimtab::shadow {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool within(utf8proc_category_t value, utf8proc_category_t first, utf8proc_category_t last) {
  return value >= first && value <= last;
}

}  // namespace

Result<Text> decode_text(std::string_view utf8) {
  Text text;
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
  auto left = static_cast<utf8proc_ssize_t>(utf8.size());
  while (left > 0) {
    utf8proc_int32_t point = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(at, left, &point);
    if (used <= 0) return fail(Code::kInvalid, "the text is not UTF-8");
    text.push_back(static_cast<char32_t>(point));
    at += used;
    left -= used;
  }
  return text;
}

Text lower(const Text& text) {
  Text result;
  result.reserve(text.size());
  for (const char32_t c : text) {
    if (c == 0x130) {  // the one whose lower case is two code points
      result += U"i\u0307";
    } else {
      result.push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return result;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_number(char32_t c) {
  return within(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool is_punctuation(char32_t c) {
  return within(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool is_symbol(char32_t c) {
  return within(category(c), UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO);
}

bool is_word(char32_t c) {
  return c == U'_' || is_number(c) ||
         within(category(c), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO);
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
         (c >= 123 && c <= 126);
}

Words split(const Text& text) {
  Words words;
  Text word;
  for (const char32_t c : text) {
    if (!is_space(c)) {
      word.push_back(c);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

Ids Vocabulary::ids(const Words& words) {
  Ids found;
  found.reserve(words.size());
  for (const Text& word : words) {
    found.push_back(table_.try_emplace(word, static_cast<int>(table_.size())).first->second);
  }
  return found;
}

}  // namespace trimtab::shadow
