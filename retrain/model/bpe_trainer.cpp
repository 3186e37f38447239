#include "retrain/model/bpe_trainer.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_stages.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

using Symbol = std::uint32_t;
using Pair = std::pair<Symbol, Symbol>;

struct Word {
  std::vector<Symbol> symbols;
  std::int64_t count = 0;
};

struct Entry {
  std::int64_t count;
  Pair pair;
  bool operator<(const Entry& other) const {  // greatest: most frequent, then smallest ids
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

OrderedJson pre_tokenizer_json() {
  return OrderedJson::parse(R"({"type":"Sequence","pretokenizers":[
    {"type":"Digits","individual_digits":true},
    {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})");
}

Status check(const BpeTrainerSettings& settings) {
  const std::set<std::string> distinct(settings.special_tokens.begin(),
                                       settings.special_tokens.end());
  if (distinct.size() != settings.special_tokens.size() || distinct.contains("")) {
    return fail(Code::kInvalid, "special tokens of the tokenizer must be distinct and not empty");
  }
  const auto least = static_cast<std::int64_t>(256 + distinct.size());
  if (settings.vocab_size < least) {
    return fail(Code::kInvalid,
                "vocab_size " + std::to_string(settings.vocab_size) +
                    " does not hold 256 bytes and the special tokens; give at least " +
                    std::to_string(least));
  }
  return {};
}

// Distinct pre-tokenized words with their counts, in the order of their text.
Result<std::map<std::string, std::int64_t>> count_words(std::span<const std::string> texts) {
  TRIMTAB_TRY(const auto stage, make_pre_tokenizer(Json::parse(pre_tokenizer_json().dump())));
  std::map<std::string, std::int64_t> counts;
  for (const auto& text : texts) {
    Pieces pieces;
    pieces.push_back({lossy_utf8(text), true, std::nullopt});
    TRIMTAB_CHECK_OK(stage->apply(pieces));
    for (const auto& piece : pieces) ++counts[piece.text];
  }
  return counts;
}

class Merger {
 public:
  Merger(std::vector<std::string>& vocabulary, std::unordered_map<std::string, Symbol>& ids)
      : vocabulary_(vocabulary), ids_(ids) {}

  void add_word(const std::string& text, std::int64_t count) {
    Word word;
    word.count = count;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      next_code_point(text, at);
      word.symbols.push_back(ids_.at(text.substr(begin, at - begin)));
    }
    const auto index = static_cast<std::uint32_t>(words_.size());
    for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      const Pair pair{word.symbols[i], word.symbols[i + 1]};
      counts_[pair] += count;
      places_[pair].insert(index);
    }
    words_.push_back(std::move(word));
  }

  // Merges until the vocabulary is full or no pair is frequent enough.
  std::vector<std::pair<std::string, std::string>> run(std::size_t vocab_size,
                                                       std::int64_t min_frequency) {
    for (const auto& [pair, count] : counts_) queue_.push({count, pair});
    std::vector<std::pair<std::string, std::string>> merges;
    while (vocabulary_.size() < vocab_size && !queue_.empty()) {
      const Entry top = queue_.top();
      queue_.pop();
      const std::int64_t count = counts_[top.pair];
      if (count != top.count) {  // counts of old pairs only fall: look again at its new place
        if (count > 0) queue_.push({count, top.pair});
        continue;
      }
      if (count < std::max<std::int64_t>(1, min_frequency)) break;
      merges.emplace_back(vocabulary_[top.pair.first], vocabulary_[top.pair.second]);
      merge(top.pair);
    }
    return merges;
  }

 private:
  void merge(const Pair& pair) {
    const std::string text = vocabulary_[pair.first] + vocabulary_[pair.second];
    const auto [it, added] = ids_.emplace(text, static_cast<Symbol>(vocabulary_.size()));
    if (added) vocabulary_.push_back(text);
    std::set<Pair> changed;
    const std::set<std::uint32_t> places = places_[pair];
    for (const std::uint32_t index : places) rewrite(index, pair, it->second, changed);
    for (const Pair& fresh : changed) queue_.push({counts_[fresh], fresh});
    counts_[pair] = 0;
    places_.erase(pair);
  }

  void rewrite(std::uint32_t index, const Pair& pair, Symbol product, std::set<Pair>& changed) {
    Word& word = words_[index];
    std::vector<Symbol> out;
    out.reserve(word.symbols.size());
    for (std::size_t i = 0; i < word.symbols.size(); ++i) {
      const bool here =
          i + 1 < word.symbols.size() && Pair{word.symbols[i], word.symbols[i + 1]} == pair;
      out.push_back(here ? product : word.symbols[i]);
      if (here) ++i;
    }
    for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      counts_[{word.symbols[i], word.symbols[i + 1]}] -= word.count;
    }
    for (std::size_t i = 0; i + 1 < out.size(); ++i) {
      const Pair now{out[i], out[i + 1]};
      counts_[now] += word.count;
      if (now.first != product && now.second != product) continue;
      places_[now].insert(index);
      changed.insert(now);
    }
    word.symbols = std::move(out);
  }

  std::vector<std::string>& vocabulary_;
  std::unordered_map<std::string, Symbol>& ids_;
  std::vector<Word> words_;
  std::map<Pair, std::int64_t> counts_;
  std::map<Pair, std::set<std::uint32_t>> places_;  // words that hold, or held, the pair
  std::priority_queue<Entry> queue_;
};

OrderedJson added_token(const std::string& content, std::size_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

std::string document(const BpeTrainerSettings& settings, const std::vector<std::string>& vocabulary,
                     const std::vector<std::pair<std::string, std::string>>& merges) {
  OrderedJson added = OrderedJson::array(), vocab = OrderedJson::object(),
              list = OrderedJson::array();
  for (std::size_t i = 0; i < settings.special_tokens.size(); ++i) {
    added.push_back(added_token(settings.special_tokens[i], i));
  }
  for (std::size_t i = 0; i < vocabulary.size(); ++i) vocab[vocabulary[i]] = i;
  for (const auto& [left, right] : merges) list.push_back(OrderedJson::array({left, right}));
  const OrderedJson byte_level = {{"type", "ByteLevel"},
                                  {"add_prefix_space", false},
                                  {"trim_offsets", true},
                                  {"use_regex", true}};
  const OrderedJson json = {{"version", "1.0"},
                            {"truncation", nullptr},
                            {"padding", nullptr},
                            {"added_tokens", added},
                            {"normalizer", nullptr},
                            {"pre_tokenizer", pre_tokenizer_json()},
                            {"post_processor", nullptr},
                            {"decoder", byte_level},
                            {"model",
                             {{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", nullptr},
                              {"continuing_subword_prefix", nullptr},
                              {"end_of_word_suffix", nullptr},
                              {"fuse_unk", false},
                              {"byte_fallback", false},
                              {"ignore_merges", false},
                              {"vocab", vocab},
                              {"merges", list}}}};
  return dump_json(json, 1) + "\n";
}

}  // namespace

Result<std::string> train_bpe(std::span<const std::string> texts,
                              const BpeTrainerSettings& settings) {
  TRIMTAB_CHECK_OK(check(settings));
  TRIMTAB_TRY(const auto words, count_words(texts));
  std::vector<std::string> vocabulary = settings.special_tokens;
  std::vector<std::string> bytes;
  for (int b = 0; b < 256; ++b) bytes.push_back(byte_character(static_cast<unsigned char>(b)));
  std::sort(bytes.begin(), bytes.end());  // UTF-8 order is code-point order
  vocabulary.insert(vocabulary.end(), bytes.begin(), bytes.end());
  std::unordered_map<std::string, Symbol> ids;
  for (std::size_t i = 0; i < vocabulary.size(); ++i)
    ids.emplace(vocabulary[i], static_cast<Symbol>(i));
  Merger merger(vocabulary, ids);
  for (const auto& [text, count] : words) merger.add_word(text, count);
  const auto merges =
      merger.run(static_cast<std::size_t>(settings.vocab_size), settings.min_frequency);
  return document(settings, vocabulary, merges);
}

}  // namespace trimtab::model
