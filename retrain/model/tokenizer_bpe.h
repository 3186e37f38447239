// The BPE model of a tokenizer.json: one pre-tokenized word to ids.
//
// Merges are applied by rank with a priority queue (as `tokenizers`, models/bpe/word.rs), so a word
// of n characters costs O(n log n). Thread-safe once built.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "retrain/model/tokenizer.h"

namespace trimtab::model {

inline constexpr std::size_t kMaxVocabulary = 1'000'000;  // the largest real one has 262,144
inline constexpr std::size_t kMaxMerges = 900'000;        // Gemma has 580,604

class BpeModel {
 public:
  // `json`: the "model" object. kInvalid: what is malformed or not covered, by name.
  [[nodiscard]] static Result<BpeModel> parse(const nlohmann::json& json);

  void encode(std::string_view word, TokenIds& ids) const;
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
  // nullptr: no such id.
  [[nodiscard]] const std::string* token(TokenId id) const;
  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  [[nodiscard]] TokenId id_limit() const { return static_cast<TokenId>(tokens_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  struct Product {
    std::uint32_t rank;
    std::uint32_t id;
  };
  struct PairHash {
    std::size_t operator()(std::uint64_t pair) const {
      return static_cast<std::size_t>((pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15ULL);
    }
  };
  struct Symbol {
    std::uint32_t id;
    std::int32_t previous;
    std::int32_t next;
    bool alive;
  };

  [[nodiscard]] Status read_vocabulary(const nlohmann::json& json);
  [[nodiscard]] Status read_merges(const nlohmann::json& json);
  [[nodiscard]] Status add_merge(std::string_view left, std::string_view right, std::size_t rank);
  [[nodiscard]] const Product* merge_of(std::uint32_t left, std::uint32_t right) const;
  void split_symbols(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge(std::vector<Symbol>& symbols) const;

  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id; points into ids_, whose nodes never move
  std::unordered_map<std::uint64_t, Product, PairHash> merges_;
  std::vector<std::int64_t> byte_tokens_;  // <0x00>..<0xFF>; -1: absent
  std::optional<std::uint32_t> unk_;
  std::string subword_prefix_;
  std::string word_suffix_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace trimtab::model
