// The stages before a tokenizer's model: normalizers and pre-tokenizers of a tokenizer.json.
//
// A text travels as Pieces: stretches that are cut ever finer. A piece that is an added token
// already carries its id and is left alone by every later stage. Semantics follow `tokenizers`
// (normalizers/*.rs, pre_tokenizers/*.rs). Thread-safe once built.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "retrain/model/tokenizer.h"

namespace trimtab::model {

struct Piece {
  std::string text;
  bool at_start = false;  // begins at the first character of the whole text
  std::optional<TokenId> id;
};
using Pieces = std::vector<Piece>;

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  [[nodiscard]] virtual Status apply(std::string& text) const = 0;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Replaces `pieces` by finer ones; pieces with an id stay. No piece is left empty.
  [[nodiscard]] virtual Status apply(Pieces& pieces) const = 0;
};

// null for JSON null. kInvalid names what is malformed or not covered.
[[nodiscard]] Result<std::unique_ptr<Normalizer>> make_normalizer(const nlohmann::json& json,
                                                                  int depth = 0);
[[nodiscard]] Result<std::unique_ptr<PreTokenizer>> make_pre_tokenizer(const nlohmann::json& json,
                                                                       int depth = 0);

// GPT-2's alphabet: each byte as a printable character, and back.
[[nodiscard]] const std::string& byte_character(unsigned char byte);
[[nodiscard]] std::optional<unsigned char> character_byte(char32_t character);

// GPT-2's own expression, used by ByteLevel with use_regex.
inline constexpr std::string_view kGpt2Regex =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

}  // namespace trimtab::model
