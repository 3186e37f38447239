// Tokenizer: a Hugging Face tokenizer.json, giving the ids that the `tokenizers` library gives.
//
// Why by hand: no C++ library in Debian reads tokenizer.json, and a base model's adapter is only as
// good as its ids. Covered: BPE models (byte-level as GPT-2, Llama-3, Qwen2, SmolLM2; and
// sentencepiece-style with byte_fallback as Llama-2, Mistral, Gemma), added tokens, every
// normalizer, pre-tokenizer, post-processor and decoder such files use. A part that is not covered
// is refused by name when the file is loaded, never ignored.
//
// Truncation and padding settings of the file are not applied, as `transformers` does not.
// Text that is not valid UTF-8 is taken with U+FFFD in place of each bad sequence.
// Cost: encode is O(n log n) in the length of one word, linear in the number of words.
//
// Thread-safety: a Tokenizer is immutable after loading; all const members may be called from any
// thread. Copies are cheap and share the tables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

using TokenId = std::int64_t;
using TokenIds = std::vector<TokenId>;

class Tokenizer {
 public:
  // `path`: a snapshot folder with tokenizer.json, or the file itself. kNotFound, kInvalid (what is
  // wrong or not covered, by name). Bounds: 256 MiB, 1,000,000 vocabulary entries, 900,000 merges.
  [[nodiscard]] static Result<Tokenizer> load(const std::filesystem::path& path);
  // `json`: the content of a tokenizer.json.
  [[nodiscard]] static Result<Tokenizer> parse(std::string_view json);

  // `add_special`: run the post-processor's template (BOS and so on). Fails (kInvalid) only when
  // the file's own regular expression exceeds its matching bound on this text.
  [[nodiscard]] Result<TokenIds> encode(std::string_view text, bool add_special) const;
  // Unknown ids give nothing. Bytes that form no UTF-8 become U+FFFD as in `tokenizers`.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  // The id of a token's exact content (added tokens first), e.g. "<|im_end|>".
  [[nodiscard]] std::optional<TokenId> token_id(std::string_view content) const;
  [[nodiscard]] std::optional<std::string> token_text(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const;
  // The largest id + 1: what an embedding must at least hold.
  [[nodiscard]] TokenId vocab_size() const;
  // Ids that the post-processor's template puts before the text (empty: none).
  [[nodiscard]] const TokenIds& template_prefix() const;

  struct Tables;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}
  std::shared_ptr<const Tables> tables_;
};

// Decodes a growing sequence of ids piece by piece, for server-sent events: the pieces put together
// equal decode() of all ids. A piece never ends inside a UTF-8 sequence; text is held back until
// its bytes are complete. Owned by one thread.
class StreamDecoder {
 public:
  StreamDecoder(Tokenizer tokenizer, bool skip_special)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}
  // The text that became certain with this id; often one word, empty while bytes are missing.
  [[nodiscard]] std::string push(TokenId id);
  // What is held back, when no more ids follow.
  [[nodiscard]] std::string finish();

 private:
  [[nodiscard]] std::string emit();

  Tokenizer tokenizer_;
  bool skip_special_;
  TokenIds window_;         // the last ids already given out: context of the next ones
  TokenIds held_;           // ids whose text is not yet certain
  std::string held_bytes_;  // byte-level decoders: an incomplete UTF-8 tail
};

// The special tokens of a snapshot, by its own files: bos/eos/pad/unk text from
// tokenizer_config.json, end-of-sequence ids from generation_config.json, config.json and
// tokenizer_config.json together (a chat model stops at any of them).
struct SpecialTokens {
  std::string bos;  // empty: none
  std::string eos;
  std::string pad;
  std::string unk;
  std::optional<TokenId> bos_id;
  std::optional<TokenId> eos_id;  // the one that ends a training example
  TokenIds stop_ids;              // sorted; generation ends at any of these
};
// Files that are absent are passed over; a file that is there and malformed is an error.
[[nodiscard]] Result<SpecialTokens> load_special_tokens(const std::filesystem::path& folder,
                                                        const Tokenizer& tokenizer);

}  // namespace trimtab::model
