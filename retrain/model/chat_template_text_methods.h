// Methods of Python's str in two files, one table: chat_template_methods.cpp owns it, the questions
// (isdigit, isupper ..) are in chat_template_text_predicates.cpp.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "retrain/model/chat_template_value.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {

using TextMethod = Value (*)(const std::string&, const Arguments&);
using TextMethods = std::map<std::string, TextMethod, std::less<>>;

void add_text_predicates(TextMethods& table);
// str.islower, str.isupper: at least one cased character, all of that case.
[[nodiscard]] bool cased(const std::string& text, bool want_upper);
[[nodiscard]] inline bool python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

}  // namespace trimtab::model::jinja
