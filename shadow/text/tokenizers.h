// Tokenizers of sacrebleu 2.6: 13a (mteval-v13a), intl (mteval-v14), char, none; and Tercom's.
// Pure.
#pragma once

#include <string_view>

#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {

enum class Tokenizer { k13a, kIntl, kChar, kNone };
[[nodiscard]] Result<Tokenizer> parse_tokenizer(std::string_view name);
[[nodiscard]] Words tokenize(Tokenizer tokenizer, const Text& text);

struct TercomOptions {
  bool normalized = false;  // split punctuation
  bool no_punct = false;    // drop . , ? : ; ! " ( )
  bool case_sensitive = false;
};
[[nodiscard]] Words tercom_tokenize(const Text& text, const TercomOptions& options);

}  // namespace trimtab::shadow
