// Cuts a template's source into text and tags, and tags into tokens, with Jinja's rules for white
// space: trim_blocks, lstrip_blocks, "-" and "+" signs, no trailing newline.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retrain/model/chat_template_value.h"

namespace trimtab::model::jinja {

struct Token {
  enum class Kind {
    kText,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kInteger,
    kFloat,
    kString,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 1;
};

// Throws JinjaError ("line 3: ..").
[[nodiscard]] std::vector<Token> tokenize_template(std::string_view source);

}  // namespace trimtab::model::jinja
