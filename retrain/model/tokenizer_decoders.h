// The decoders of a tokenizer.json: token texts back to a text (decoders/*.rs of `tokenizers`).
// Thread-safe once built.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

// null for JSON null. kInvalid names what is malformed or not covered.
[[nodiscard]] Result<std::unique_ptr<Decoder>> make_decoder(const nlohmann::json& json,
                                                            int depth = 0);

// A token's bytes by GPT-2's alphabet; its own UTF-8 when a character is outside of it.
void append_token_bytes(std::string_view token, std::string& bytes);
// The byte of "<0x0A>", or -1.
[[nodiscard]] int byte_of_token(std::string_view token);

}  // namespace trimtab::model
