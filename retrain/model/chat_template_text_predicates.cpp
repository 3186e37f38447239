// Questions that Python's str answers about its characters.
#include <utf8proc.h>

#include <algorithm>

#include "retrain/model/chat_template_text_methods.h"

namespace trimtab::model::jinja {
namespace {

template <typename Predicate>
bool all_characters(const std::string& text, Predicate predicate) {
  if (text.empty()) return false;
  for (std::size_t at = 0; at < text.size();) {
    if (!predicate(next_code_point(text, at))) return false;
  }
  return true;
}

// Every run of cased letters begins with a capital and goes on in small ones.
bool is_title(const std::string& text) {
  bool any = false;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto category =
        utf8proc_category(static_cast<utf8proc_int32_t>(next_code_point(text, at)));
    const bool big = category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
    const bool small = category == UTF8PROC_CATEGORY_LL;
    if ((big && inside) || (small && !inside)) return false;
    inside = big || small;
    any = any || inside;
  }
  return any;
}

bool is_decimal(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

// Decimals, and the digits that are written above or below the line.
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
}

}  // namespace

bool cased(const std::string& text, bool want_upper) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto category =
        utf8proc_category(static_cast<utf8proc_int32_t>(next_code_point(text, at)));
    if (category == (want_upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU)) return false;
    any = any || category == (want_upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
  }
  return any;
}

void add_text_predicates(TextMethods& table) {
  using T = const std::string&;
  using A = const Arguments&;
  table["istitle"] = [](T t, A) -> Value { return is_title(t); };
  table["isdecimal"] = [](T t, A) -> Value { return all_characters(t, is_decimal); };
  table["isascii"] = [](T t, A) -> Value {
    return std::all_of(t.begin(), t.end(), [](char c) { return (c & 0x80) == 0; });
  };
  table["isdigit"] = [](T t, A) -> Value { return all_characters(t, is_digit); };
  table["isnumeric"] = [](T t, A) -> Value { return all_characters(t, is_numeric); };
  table["isspace"] = [](T t, A) -> Value { return all_characters(t, python_space); };
  table["isalpha"] = [](T t, A) -> Value { return all_characters(t, is_alphabetic); };
  table["isalnum"] = [](T t, A) -> Value {
    return all_characters(t, [](char32_t c) { return is_alphabetic(c) || is_numeric(c); });
  };
  table["islower"] = [](T t, A) -> Value { return cased(t, false); };
  table["isupper"] = [](T t, A) -> Value { return cased(t, true); };
}

}  // namespace trimtab::model::jinja
