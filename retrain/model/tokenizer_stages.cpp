#include "retrain/model/tokenizer_stages.h"

#include <array>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_regex.h"
#include "retrain/model/tokenizer_sequence.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

tl::unexpected<Error> not_covered(std::string_view stage, const std::string& type) {
  return fail(Code::kInvalid, std::string(stage) + " '" + type + "' is not covered");
}

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Result<Behavior> read_behavior(const Json& json, Behavior fallback) {
  if (!json.contains("behavior")) return fallback;
  TRIMTAB_TRY(const std::string name, json_get<std::string>(json, "behavior"));
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return fail(Code::kInvalid, "'behavior' " + name + " is unknown");
}

using Spans = std::vector<TokenRegex::Span>;

// Joins spans as SplitDelimiterBehavior says (tokenizer/normalizer.rs, split).
void shape(Spans& spans, Behavior behavior) {
  if (behavior == Behavior::kIsolated || behavior == Behavior::kRemoved) return;
  Spans out;
  bool previous = false;
  if (behavior == Behavior::kMergedWithNext) {
    for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
      if (span->matched && !previous && !out.empty()) {
        out.back().begin = span->begin;
      } else {
        out.push_back(*span);
      }
      previous = span->matched;
    }
    spans.assign(out.rbegin(), out.rend());
    return;
  }
  for (const auto& span : spans) {
    const bool join =
        behavior == Behavior::kContiguous ? span.matched == previous : span.matched && !previous;
    if (join && !out.empty()) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
    previous = span.matched;
  }
  spans = std::move(out);
}

using Finder = std::function<Status(std::string_view, Spans&)>;

class SplitPreTokenizer final : public PreTokenizer {
 public:
  SplitPreTokenizer(Finder find, Behavior behavior, bool invert)
      : find_(std::move(find)), behavior_(behavior), invert_(invert) {}

  Status apply(Pieces& pieces) const override {
    Pieces out;
    Spans spans;
    for (auto& piece : pieces) {
      if (piece.id) {
        out.push_back(std::move(piece));
        continue;
      }
      TRIMTAB_CHECK_OK(find_(piece.text, spans));
      if (invert_) {
        for (auto& span : spans) span.matched = !span.matched;
      }
      shape(spans, behavior_);
      for (const auto& span : spans) {
        if (span.begin == span.end) continue;
        if (behavior_ == Behavior::kRemoved && span.matched) continue;
        out.push_back({piece.text.substr(span.begin, span.end - span.begin),
                       piece.at_start && span.begin == 0, std::nullopt});
      }
    }
    pieces = std::move(out);
    return {};
  }

 private:
  Finder find_;
  Behavior behavior_;
  bool invert_;
};

// Each character of the class is a match of its own.
Finder by_character(bool (*is_match)(char32_t)) {
  return [is_match](std::string_view text, Spans& spans) -> Status {
    spans.clear();
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t start = at;
      if (!is_match(next_code_point(text, at))) continue;
      if (done < start) spans.push_back({done, start, false});
      spans.push_back({start, at, true});
      done = at;
    }
    if (done < text.size()) spans.push_back({done, text.size(), false});
    return {};
  };
}

// The pre-tokenizer Whitespace, \w+|[^\w\s]+ of Rust's expressions: each run that is kept counts
// as no match, white space as one.
Status words_and_others(std::string_view text, Spans& spans) {
  const auto kind = [](char32_t c) { return is_word(c) ? 2 : is_white_space(c) ? 0 : 1; };
  spans.clear();
  int before = -1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const int here = kind(next_code_point(text, at));
    if (here == before) {
      spans.back().end = at;
    } else {
      spans.push_back({begin, at, here == 0});
    }
    before = here;
  }
  return {};
}

Finder by_regex(TokenRegex regex) {
  return [regex = std::move(regex)](std::string_view text, Spans& spans) {
    return regex.find_all(text, spans);
  };
}

class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, std::unique_ptr<PreTokenizer> split)
      : add_prefix_space_(add_prefix_space), split_(std::move(split)) {}

  Status apply(Pieces& pieces) const override {
    for (auto& piece : pieces) {
      if (add_prefix_space_ && !piece.id && !piece.text.starts_with(' ')) piece.text.insert(0, " ");
    }
    if (split_) TRIMTAB_CHECK_OK(split_->apply(pieces));
    for (auto& piece : pieces) {
      if (piece.id) continue;
      std::string mapped;
      mapped.reserve(piece.text.size() * 2);
      for (const char c : piece.text) mapped += byte_character(static_cast<unsigned char>(c));
      piece.text = std::move(mapped);
    }
    return {};
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<PreTokenizer> split_;
};

class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  enum class Scheme { kAlways, kFirst, kNever };
  MetaspacePreTokenizer(std::string replacement, Scheme scheme, bool split)
      : replacement_(std::move(replacement)),
        scheme_(scheme),
        split_(
            split ? std::make_unique<SplitPreTokenizer>(by_regex(TokenRegex::literal(replacement_)),
                                                        Behavior::kMergedWithNext, false)
                  : nullptr) {}

  Status apply(Pieces& pieces) const override {
    for (auto& piece : pieces) {
      if (piece.id) continue;
      TRIMTAB_CHECK_OK(replace_matches(space_, replacement_, piece.text));
      const bool wanted =
          scheme_ == Scheme::kAlways || (scheme_ == Scheme::kFirst && piece.at_start);
      if (wanted && !piece.text.starts_with(replacement_)) piece.text.insert(0, replacement_);
    }
    return split_ ? split_->apply(pieces) : Status{};
  }

 private:
  TokenRegex space_ = TokenRegex::literal(" ");
  std::string replacement_;
  Scheme scheme_;
  std::unique_ptr<PreTokenizer> split_;
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> parts)
      : parts_(std::move(parts)) {}
  Status apply(Pieces& pieces) const override {
    for (const auto& part : parts_) TRIMTAB_CHECK_OK(part->apply(pieces));
    return {};
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

std::unique_ptr<PreTokenizer> split_at(Finder find, Behavior behavior, bool invert = false) {
  return std::make_unique<SplitPreTokenizer>(std::move(find), behavior, invert);
}

Result<std::unique_ptr<PreTokenizer>> make_metaspace(const Json& json) {
  using Scheme = MetaspacePreTokenizer::Scheme;
  TRIMTAB_TRY(std::string replacement, json_get<std::string>(json, "replacement"));
  const bool add_prefix = json_or(json, "add_prefix_space", true);
  Scheme scheme = add_prefix ? Scheme::kAlways : Scheme::kNever;
  if (json.contains("prepend_scheme")) {
    TRIMTAB_TRY(const std::string name, json_get<std::string>(json, "prepend_scheme"));
    if (name == "always")
      scheme = Scheme::kAlways;
    else if (name == "first")
      scheme = Scheme::kFirst;
    else if (name == "never")
      scheme = Scheme::kNever;
    else
      return fail(Code::kInvalid, "Metaspace 'prepend_scheme' " + name + " is unknown");
    if (!add_prefix && scheme != Scheme::kNever) {
      return fail(Code::kInvalid, "Metaspace 'add_prefix_space' contradicts 'prepend_scheme'");
    }
  }
  return std::make_unique<MetaspacePreTokenizer>(std::move(replacement), scheme,
                                                 json_or(json, "split", true));
}

Result<std::unique_ptr<PreTokenizer>> make_byte_level(const Json& json) {
  std::unique_ptr<PreTokenizer> split;
  if (json_or(json, "use_regex", true)) {
    TRIMTAB_TRY(TokenRegex regex, TokenRegex::compile(kGpt2Regex));
    split = split_at(by_regex(std::move(regex)), Behavior::kIsolated);
  }
  return std::make_unique<ByteLevelPreTokenizer>(json_or(json, "add_prefix_space", true),
                                                 std::move(split));
}

Result<std::unique_ptr<PreTokenizer>> make_split(const Json& json) {
  TRIMTAB_TRY(TokenRegex pattern, read_token_pattern(json.value("pattern", Json())));
  TRIMTAB_TRY(const Behavior behavior, read_behavior(json, Behavior::kRemoved));
  return split_at(by_regex(std::move(pattern)), behavior, json_or(json, "invert", false));
}

struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::unordered_map<char32_t, unsigned char> bytes;
  ByteAlphabet() {
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = printable ? static_cast<char32_t>(b) : next++;
      append_code_point(characters[static_cast<std::size_t>(b)], c);
      bytes[c] = static_cast<unsigned char>(b);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

}  // namespace

const std::string& byte_character(unsigned char byte) { return alphabet().characters[byte]; }

std::optional<unsigned char> character_byte(char32_t character) {
  const auto it = alphabet().bytes.find(character);
  if (it == alphabet().bytes.end()) return std::nullopt;
  return it->second;
}

Result<std::unique_ptr<PreTokenizer>> make_pre_tokenizer(const Json& json, int depth) {
  if (json.is_null()) return std::unique_ptr<PreTokenizer>();
  TRIMTAB_TRY(const std::string type, json_get<std::string>(json, "type"));
  if (type == "Sequence") {
    TRIMTAB_TRY(auto parts,
                make_parts<PreTokenizer>(json, "pretokenizers", depth, make_pre_tokenizer));
    return std::make_unique<PreTokenizerSequence>(std::move(parts));
  }
  if (type == "ByteLevel") return make_byte_level(json);
  if (type == "Split") return make_split(json);
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "Digits") {
    return split_at(by_character(is_numeric), json_or(json, "individual_digits", false)
                                                  ? Behavior::kIsolated
                                                  : Behavior::kContiguous);
  }
  if (type == "WhitespaceSplit") return split_at(by_character(is_white_space), Behavior::kRemoved);
  if (type == "Whitespace") return split_at(words_and_others, Behavior::kRemoved);
  if (type == "Punctuation") {
    TRIMTAB_TRY(const Behavior behavior, read_behavior(json, Behavior::kIsolated));
    return split_at(by_character(is_punctuation), behavior);
  }
  return not_covered("pre-tokenizer", type);
}

}  // namespace trimtab::model
