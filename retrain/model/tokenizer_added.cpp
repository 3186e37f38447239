#include "retrain/model/tokenizer_added.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

constexpr std::size_t kMaxAdded = 100'000;
constexpr std::size_t kMaxContentBytes = 4096;

Result<bool> flag(const Json& json, const char* key, bool fallback) {
  if (!json.contains(key)) return fallback;
  return json_get<bool>(json, key);
}

Result<AddedToken> read_token(const Json& json) {
  AddedToken token;
  TRIMTAB_TRY(token.content, json_get<std::string>(json, "content"));
  TRIMTAB_TRY(token.id, json_get<TokenId>(json, "id"));
  TRIMTAB_TRY(token.special, flag(json, "special", false));
  TRIMTAB_TRY(token.single_word, flag(json, "single_word", false));
  TRIMTAB_TRY(token.lstrip, flag(json, "lstrip", false));
  TRIMTAB_TRY(token.rstrip, flag(json, "rstrip", false));
  TRIMTAB_TRY(token.normalized, flag(json, "normalized", !token.special));
  if (token.content.size() > kMaxContentBytes) {
    return fail(Code::kInvalid, "an added token is longer than 4096 bytes");
  }
  return token;
}

std::size_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}
bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  std::size_t at = last_character(text);
  return is_word(next_code_point(text, at));
}
bool starts_with_word(std::string_view text) {
  std::size_t at = 0;
  return !text.empty() && is_word(next_code_point(text, at));
}
std::size_t trim_end(std::string_view text) {  // where the white space at the end begins
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t at = last_character(text.substr(0, end));
    const std::size_t begin = at;
    if (!is_white_space(next_code_point(text, at))) break;
    end = begin;
  }
  return end;
}
std::size_t leading_space(std::string_view text) {
  std::size_t at = 0, end = 0;
  while (at < text.size() && is_white_space(next_code_point(text, at))) end = at;
  return end;
}

}  // namespace

void PatternSet::add(std::string_view pattern, std::size_t index) {
  if (pattern.empty()) return;
  std::size_t node = 0;
  for (const char c : pattern) {
    const auto [it, added] =
        nodes_[node].next.try_emplace(static_cast<unsigned char>(c), nodes_.size());
    node = it->second;
    if (added) nodes_.emplace_back();
  }
  if (!nodes_[node].index) nodes_[node].index = index;
}

std::optional<PatternSet::Match> PatternSet::longest_at(std::string_view text,
                                                        std::size_t at) const {
  std::optional<Match> best;
  std::size_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto it = nodes_[node].next.find(static_cast<unsigned char>(text[i]));
    if (it == nodes_[node].next.end()) break;
    node = it->second;
    if (nodes_[node].index) best = Match{*nodes_[node].index, i + 1 - at};
  }
  return best;
}

Result<AddedTokens> AddedTokens::parse(const Json& json, const BpeModel& model,
                                       const Normalizer* normalizer) {
  AddedTokens added;
  if (json.is_null()) return added;
  if (!json.is_array() || json.size() > kMaxAdded) {
    return fail(Code::kInvalid, "'added_tokens' is no list of at most 100,000");
  }
  TokenId highest = -1;
  const auto model_size = static_cast<TokenId>(model.size());
  for (const auto& entry : json) {
    TRIMTAB_TRY(AddedToken token, read_token(entry));
    if (token.content.empty()) continue;
    const TokenId stated = token.id;
    const auto known = added.by_content_.find(token.content);
    if (known != added.by_content_.end()) {
      token.id = added.tokens_[known->second].id;
    } else if (const auto own = model.id(token.content)) {
      token.id = *own;
    } else {
      token.id = highest < model_size ? model_size : highest + 1;
    }
    if (token.id != stated) {
      return fail(Code::kInvalid, "added token " + dump_json(Json(token.content)) + " states id " +
                                      std::to_string(stated) + ", but by the vocabulary it is " +
                                      std::to_string(token.id));
    }
    highest = std::max(highest, token.id);
    added.id_limit_ = std::max(added.id_limit_, token.id + 1);
    if (known != added.by_content_.end()) {
      added.tokens_[known->second] = std::move(token);
      continue;
    }
    added.by_content_.emplace(token.content, added.tokens_.size());
    added.by_id_.emplace(token.id, added.tokens_.size());
    added.tokens_.push_back(std::move(token));
  }
  for (const bool special : {true, false}) {  // the reference's order: specials win equal patterns
    for (std::size_t i = 0; i < added.tokens_.size(); ++i) {
      AddedToken& token = added.tokens_[i];
      if (token.special != special) continue;
      token.shown = token.content;
      if (token.normalized && normalizer != nullptr) {
        TRIMTAB_CHECK_OK(normalizer->apply(token.shown));
        if (token.shown.empty()) {  // the reference would cut the text at every character
          return fail(Code::kInvalid, "added token " + dump_json(Json(token.content)) +
                                          " is nothing once normalized; set its 'normalized' to "
                                          "false");
        }
      }
      (token.normalized ? added.normalized_ : added.plain_).add(token.shown, i);
    }
  }
  return added;
}

void AddedTokens::split(const Piece& piece, const PatternSet& patterns, Pieces& out) const {
  const std::string_view text = piece.text;
  std::size_t done = 0;
  const auto emit = [&](std::size_t begin, std::size_t end, std::optional<TokenId> id) {
    if (begin >= end) return;
    out.push_back({std::string(text.substr(begin, end - begin)), piece.at_start && begin == 0, id});
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto match = patterns.longest_at(text, at);
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match->index];
    std::size_t begin = at, end = at + match->length;
    at = end;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(trim_end(text.substr(0, begin)), done);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (done < begin) emit(done, begin, std::nullopt);
    emit(begin, end, token.id);
    done = end;
  }
  if (done != text.size()) emit(done, text.size(), std::nullopt);
}

Status AddedTokens::apply(Pieces& pieces, const Normalizer* normalizer) const {
  const auto cut = [&](const PatternSet& patterns) {
    if (patterns.empty()) return;
    Pieces out;
    for (auto& piece : pieces) {
      if (piece.id)
        out.push_back(std::move(piece));
      else
        split(piece, patterns, out);
    }
    pieces = std::move(out);
  };
  cut(plain_);
  if (normalizer != nullptr) {
    for (auto& piece : pieces) {
      if (!piece.id) TRIMTAB_CHECK_OK(normalizer->apply(piece.text));
    }
    std::erase_if(pieces, [](const Piece& piece) { return piece.text.empty(); });
  }
  cut(normalized_);
  return {};
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}
const AddedToken* AddedTokens::find(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}
bool AddedTokens::is_special(std::string_view content) const {
  const AddedToken* token = find(content);
  return token != nullptr && token->special;
}

}  // namespace trimtab::model
