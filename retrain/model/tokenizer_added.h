// Added tokens: contents that are found in the text before the model sees it (special tokens and
// others), leftmost and longest first, as added_vocabulary.rs of `tokenizers`.
// Thread-safe once built.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "retrain/model/tokenizer_bpe.h"
#include "retrain/model/tokenizer_stages.h"

namespace trimtab::model {

struct AddedToken {
  std::string content;
  std::string shown;  // what it decodes to: with normalized=true the normalized content, as the
                      // reference keeps it (and then does not skip it as special when they differ)
  TokenId id = 0;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

// Finds the longest of a set of patterns at a position.
class PatternSet {
 public:
  void add(std::string_view pattern, std::size_t index);
  [[nodiscard]] bool empty() const { return nodes_.size() == 1; }
  // The longest pattern that starts at `at`: its index and length.
  struct Match {
    std::size_t index = 0;
    std::size_t length = 0;
  };
  [[nodiscard]] std::optional<Match> longest_at(std::string_view text, std::size_t at) const;

 private:
  struct Node {
    std::unordered_map<unsigned char, std::size_t> next;
    std::optional<std::size_t> index;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
};

class AddedTokens {
 public:
  // `json`: the list "added_tokens" (null: none). As the reference does, the id of a token is the
  // model's own for that text, else the next free one: the id in the file is checked against it.
  [[nodiscard]] static Result<AddedTokens> parse(const nlohmann::json& json, const BpeModel& model,
                                                 const Normalizer* normalizer);

  // Cuts out tokens with normalized=false, normalizes the rest, cuts out the others.
  [[nodiscard]] Status apply(Pieces& pieces, const Normalizer* normalizer) const;

  [[nodiscard]] const AddedToken* find(std::string_view content) const;
  [[nodiscard]] const AddedToken* find(TokenId id) const;
  [[nodiscard]] bool is_special(std::string_view content) const;
  [[nodiscard]] TokenId id_limit() const { return id_limit_; }

 private:
  void split(const Piece& piece, const PatternSet& patterns, Pieces& out) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::unordered_map<TokenId, std::size_t> by_id_;
  PatternSet plain_;
  PatternSet normalized_;
  TokenId id_limit_ = 0;
};

}  // namespace trimtab::model
