// The regular expressions of a tokenizer.json, matched as `tokenizers` matches them.
//
// `tokenizers` runs Oniguruma with Ruby's syntax; here PCRE2 does, after a translation of what the
// two spell differently: \s, \d and \w (Unicode White_Space, Nd, and Alphabetic|M|Nd|Pc), ^ and $
// (always at line ends), (?m). A construct whose meaning differs and that is not translated is
// refused by name. Matches are compiled by PCRE2's JIT where there is one.
//
// Thread-safety: immutable after compile(); match() may be called from any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

class TokenRegex {
 public:
  // kInvalid: not a regular expression, or a construct that is not covered.
  [[nodiscard]] static Result<TokenRegex> compile(std::string_view pattern);
  // A pattern that matches this text and nothing else.
  [[nodiscard]] static TokenRegex literal(std::string_view text);

  struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool matched = false;
  };
  // Cuts `text` (valid UTF-8) into matches and what lies between, in order, nothing left out; an
  // empty text gives one empty span that is not matched. kInvalid when matching exceeds its bound
  // (10^7 steps an attempt).
  [[nodiscard]] Status find_all(std::string_view text, std::vector<Span>& spans) const;

  struct Compiled;

 private:
  TokenRegex() = default;
  std::shared_ptr<const Compiled> compiled_;  // null: literal
  std::string literal_;
};

// {"String": "text"} or {"Regex": "expression"}, as normalizers, splits and decoders write it.
[[nodiscard]] Result<TokenRegex> read_token_pattern(const nlohmann::json& json);
// Every match in `text` becomes `content`.
[[nodiscard]] Status replace_matches(const TokenRegex& pattern, std::string_view content,
                                     std::string& text);

// The translation alone, for its test.
[[nodiscard]] Result<std::string> translate_oniguruma(std::string_view pattern);

}  // namespace trimtab::model
