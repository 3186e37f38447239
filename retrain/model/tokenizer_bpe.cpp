#include "retrain/model/tokenizer_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

Result<std::string> optional_text(const Json& json, const char* key) {
  if (!json.contains(key) || json[key].is_null()) return std::string();
  return json_get<std::string>(json, key);
}
Result<bool> optional_flag(const Json& json, const char* key) {
  if (!json.contains(key) || json[key].is_null()) return false;
  return json_get<bool>(json, key);
}

struct Candidate {
  std::uint32_t rank;
  std::uint32_t position;
  std::uint32_t id;
};
// std::*_heap keeps the greatest on top: smallest rank, then leftmost.
bool comes_later(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Result<BpeModel> BpeModel::parse(const Json& json) {
  if (!json.is_object()) return fail(Code::kInvalid, "'model' is no object");
  // GPT-2's own file has no type; its merges tell.
  if (json.contains("type") && json["type"] != "BPE") {
    return fail(Code::kInvalid,
                "model type " + dump_json(json["type"]) + " is not covered (only BPE)");
  }
  if (json.contains("dropout") && !json["dropout"].is_null() && json["dropout"] != 0.0) {
    return fail(Code::kInvalid, "'dropout' makes ids random; set it to null");
  }
  BpeModel model;
  TRIMTAB_TRY(model.subword_prefix_, optional_text(json, "continuing_subword_prefix"));
  TRIMTAB_TRY(model.word_suffix_, optional_text(json, "end_of_word_suffix"));
  TRIMTAB_TRY(model.fuse_unk_, optional_flag(json, "fuse_unk"));
  TRIMTAB_TRY(model.byte_fallback_, optional_flag(json, "byte_fallback"));
  TRIMTAB_TRY(model.ignore_merges_, optional_flag(json, "ignore_merges"));
  TRIMTAB_CHECK_OK(model.read_vocabulary(json));
  TRIMTAB_CHECK_OK(model.read_merges(json));
  TRIMTAB_TRY(const std::string unk, optional_text(json, "unk_token"));
  if (!unk.empty()) {
    const auto it = model.ids_.find(unk);
    if (it == model.ids_.end())
      return fail(Code::kInvalid, "'unk_token' " + unk + " is not in 'vocab'");
    model.unk_ = it->second;
  }
  model.byte_tokens_.assign(256, -1);
  for (int b = 0; b < 256; ++b) {
    const auto it = model.ids_.find(fmt::format("<0x{:02X}>", b));
    if (it != model.ids_.end()) model.byte_tokens_[static_cast<std::size_t>(b)] = it->second;
  }
  return model;
}

Status BpeModel::read_vocabulary(const Json& json) {
  const auto vocab = json.find("vocab");
  if (vocab == json.end() || !vocab->is_object())
    return fail(Code::kInvalid, "'vocab' is no object");
  if (vocab->size() > kMaxVocabulary) {
    return fail(Code::kInvalid,
                fmt::format("'vocab' has {} entries, more than {}", vocab->size(), kMaxVocabulary));
  }
  ids_.reserve(vocab->size());
  for (auto entry = vocab->begin(); entry != vocab->end(); ++entry) {
    if (!entry->is_number_unsigned() || entry->get<std::uint64_t>() >= 4 * kMaxVocabulary) {
      return fail(Code::kInvalid, "'vocab' gives " + dump_json(Json(entry.key())) + " the id " +
                                      dump_json(*entry).substr(0, 40));
    }
    const auto id = entry->get<std::uint32_t>();
    const auto [it, added] = ids_.emplace(entry.key(), id);
    if (tokens_.size() <= id) tokens_.resize(id + 1, nullptr);
    if (tokens_[id] != nullptr) {
      return fail(Code::kInvalid, "'vocab' gives the id " + std::to_string(id) + " twice");
    }
    tokens_[id] = &it->first;
  }
  return {};
}

Status BpeModel::read_merges(const Json& json) {
  const auto merges = json.find("merges");
  if (merges == json.end() || !merges->is_array())
    return fail(Code::kInvalid, "'merges' is no list");
  if (merges->size() > kMaxMerges) {
    return fail(Code::kInvalid,
                fmt::format("'merges' has {} entries, more than {}", merges->size(), kMaxMerges));
  }
  merges_.reserve(merges->size());
  std::size_t rank = 0;
  for (const auto& entry : *merges) {
    if (entry.is_string()) {
      const auto& text = entry.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const std::size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        return fail(Code::kInvalid,
                    fmt::format("merge {} is not two parts with a space between", rank));
      }
      TRIMTAB_CHECK_OK(add_merge(std::string_view(text).substr(0, space),
                                 std::string_view(text).substr(space + 1), rank));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      TRIMTAB_CHECK_OK(add_merge(entry[0].get_ref<const std::string&>(),
                                 entry[1].get_ref<const std::string&>(), rank));
    } else {
      return fail(Code::kInvalid,
                  fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]", rank));
    }
    ++rank;
  }
  return {};
}

Status BpeModel::add_merge(std::string_view left, std::string_view right, std::size_t rank) {
  if (left.empty() || right.empty()) {
    return fail(Code::kInvalid, fmt::format("merge {} has an empty part: a cycle", rank));
  }
  if (!right.starts_with(subword_prefix_)) {
    return fail(Code::kInvalid, fmt::format("merge {}: the second part lacks the prefix '{}'", rank,
                                            subword_prefix_));
  }
  const std::string whole = std::string(left) + std::string(right.substr(subword_prefix_.size()));
  const auto a = ids_.find(left), b = ids_.find(right), product = ids_.find(whole);
  for (const auto& [it, text] : {std::pair{a, std::string(left)}, std::pair{b, std::string(right)},
                                 std::pair{product, whole}}) {
    if (it == ids_.end()) {
      return fail(Code::kInvalid, fmt::format("merge {} names {}, which is not in 'vocab'", rank,
                                              dump_json(Json(text.substr(0, 60)))));
    }
  }
  if (product->second == a->second || product->second == b->second) {
    return fail(Code::kInvalid, fmt::format("merge {} gives one of its own parts: a cycle", rank));
  }
  const std::uint64_t pair = (std::uint64_t{a->second} << 32) | b->second;
  merges_[pair] = {static_cast<std::uint32_t>(rank), product->second};
  return {};
}

const BpeModel::Product* BpeModel::merge_of(std::uint32_t left, std::uint32_t right) const {
  const auto it = merges_.find((std::uint64_t{left} << 32) | right);
  return it == merges_.end() ? nullptr : &it->second;
}

std::optional<TokenId> BpeModel::id(std::string_view token) const {
  const auto it = ids_.find(token);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* BpeModel::token(TokenId id) const {
  if (id < 0 || id >= id_limit()) return nullptr;
  return tokens_[static_cast<std::size_t>(id)];
}

// models/bpe/model.rs, merge_word: characters to symbols, with byte fallback and pending unknowns.
void BpeModel::split_symbols(std::string_view word, std::vector<Symbol>& symbols) const {
  const auto add = [&](std::uint32_t id) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1, true});
  };
  bool pending_unk = false;
  const bool plain = subword_prefix_.empty() && word_suffix_.empty();
  std::string decorated;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    next_code_point(word, at);
    std::string_view character = word.substr(begin, at - begin);
    if (!plain) {
      decorated = (begin > 0 ? subword_prefix_ : "") + std::string(character);
      if (at == word.size()) decorated += word_suffix_;
      character = decorated;
    }
    const auto it = ids_.find(character);
    if (it != ids_.end()) {
      if (pending_unk) add(*unk_);
      pending_unk = false;
      add(it->second);
      continue;
    }
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) {
          return byte_tokens_[static_cast<unsigned char>(c)] >= 0;
        })) {
      // As the reference: a pending unknown is not flushed by bytes.
      for (const char c : character) {
        add(static_cast<std::uint32_t>(byte_tokens_[static_cast<unsigned char>(c)]));
      }
      continue;
    }
    if (!unk_) continue;
    if (pending_unk && !fuse_unk_) add(*unk_);
    pending_unk = true;
  }
  if (pending_unk) add(*unk_);
  if (!symbols.empty()) symbols.back().next = -1;
}

void BpeModel::merge(std::vector<Symbol>& symbols) const {
  thread_local std::vector<Candidate> heap;
  heap.clear();
  const auto push = [&](std::int32_t left, std::int32_t right) {
    const auto l = static_cast<std::size_t>(left), r = static_cast<std::size_t>(right);
    if (const Product* product = merge_of(symbols[l].id, symbols[r].id)) {
      heap.push_back({product->rank, static_cast<std::uint32_t>(left), product->id});
      std::push_heap(heap.begin(), heap.end(), comes_later);
    }
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    push(static_cast<std::int32_t>(i), static_cast<std::int32_t>(i + 1));
  }
  while (!heap.empty()) {  // every pass removes a candidate; only a real merge adds (at most two)
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[top.position];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Product* product = merge_of(left.id, right.id);
    if (product == nullptr || product->id != top.id) continue;  // the neighbours changed meanwhile
    left.id = top.id;
    left.next = right.next;
    right.alive = false;
    const auto position = static_cast<std::int32_t>(top.position);
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = position;
    if (left.previous >= 0) push(left.previous, position);
    if (left.next >= 0) push(position, left.next);
  }
}

void BpeModel::encode(std::string_view word, TokenIds& ids) const {
  if (word.empty()) return;
  if (ignore_merges_) {
    if (const auto whole = id(word)) {
      ids.push_back(*whole);
      return;
    }
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  split_symbols(word, symbols);
  merge(symbols);
  for (const auto& symbol : symbols) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

}  // namespace trimtab::model
