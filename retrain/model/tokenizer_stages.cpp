#include "retrain/model/tokenizer_stages.h"

#include <array>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_regex.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

constexpr int kMaxDepth = 16;  // Sequences inside Sequences; real files have 1

tl::unexpected<Error> not_covered(std::string_view stage, const std::string& type) {
  return fail(Code::kInvalid, std::string(stage) + " '" + type + "' is not covered");
}

Result<TokenRegex> read_pattern(const Json& json) {
  if (json.is_object() && json.contains("String") && json["String"].is_string()) {
    return TokenRegex::literal(json["String"].get<std::string>());
  }
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string()) {
    return TokenRegex::compile(json["Regex"].get<std::string>());
  }
  return fail(Code::kInvalid, "'pattern' is neither {\"String\": ..} nor {\"Regex\": ..}");
}

// ---- normalizers ----

using Step = std::function<Status(std::string&)>;

class StepNormalizer final : public Normalizer {
 public:
  explicit StepNormalizer(Step step) : step_(std::move(step)) {}
  Status apply(std::string& text) const override { return step_(text); }

 private:
  Step step_;
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> parts)
      : parts_(std::move(parts)) {}
  Status apply(std::string& text) const override {
    for (const auto& part : parts_) TRIMTAB_CHECK_OK(part->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

Status replace_all(const TokenRegex& pattern, std::string_view content, std::string& text) {
  std::vector<TokenRegex::Span> spans;
  TRIMTAB_CHECK_OK(pattern.find_all(text, spans));
  std::string out;
  out.reserve(text.size());
  for (const auto& span : spans) {
    out += span.matched ? content
                        : std::string_view(text).substr(span.begin, span.end - span.begin);
  }
  text = std::move(out);
  return {};
}

void strip(std::string& text, bool left, bool right) {
  std::size_t begin = 0, end = 0, at = 0;
  bool seen = false;
  while (at < text.size()) {
    const std::size_t start = at;
    if (is_white_space(next_code_point(text, at))) continue;
    if (!seen) begin = start;
    seen = true;
    end = at;
  }
  if (!seen) begin = end = text.size();
  if (!left) begin = 0;
  if (!right) end = text.size();
  text = text.substr(begin, end > begin ? end - begin : 0);
}

Result<Step> make_step(const std::string& type, const Json& json) {
  const auto form = [](NormalForm f) {
    return Step([f](std::string& text) -> Status {
      text = normalize(text, f);
      return {};
    });
  };
  if (type == "NFC") return form(NormalForm::kNfc);
  if (type == "NFD") return form(NormalForm::kNfd);
  if (type == "NFKC") return form(NormalForm::kNfkc);
  if (type == "NFKD") return form(NormalForm::kNfkd);
  if (type == "Lowercase") {
    return Step([](std::string& text) -> Status {
      text = lowercase(text);
      return {};
    });
  }
  if (type == "Prepend") {
    TRIMTAB_TRY(std::string prepend, json_get<std::string>(json, "prepend"));
    return Step([prepend](std::string& text) -> Status {
      if (!text.empty()) text.insert(0, prepend);
      return {};
    });
  }
  if (type == "Replace") {
    TRIMTAB_TRY(std::string content, json_get<std::string>(json, "content"));
    TRIMTAB_TRY(TokenRegex pattern, read_pattern(json.value("pattern", Json())));
    return Step([pattern, content](std::string& text) -> Status {
      return replace_all(pattern, content, text);
    });
  }
  if (type == "Strip") {
    const bool left = json_or(json, "strip_left", true), right = json_or(json, "strip_right", true);
    return Step([left, right](std::string& text) -> Status {
      strip(text, left, right);
      return {};
    });
  }
  return not_covered("normalizer", type);
}

// ---- pre-tokenizers ----

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
    const bool join = behavior == Behavior::kContiguous ? span.matched == previous
                                                        : span.matched && !previous;
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
        split_(split ? std::make_unique<SplitPreTokenizer>(
                           by_regex(TokenRegex::literal(replacement_)), Behavior::kMergedWithNext,
                           false)
                     : nullptr) {}

  Status apply(Pieces& pieces) const override {
    for (auto& piece : pieces) {
      if (piece.id) continue;
      TRIMTAB_CHECK_OK(replace_all(space_, replacement_, piece.text));
      const bool wanted = scheme_ == Scheme::kAlways || (scheme_ == Scheme::kFirst && piece.at_start);
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
    if (name == "always") scheme = Scheme::kAlways;
    else if (name == "first") scheme = Scheme::kFirst;
    else if (name == "never") scheme = Scheme::kNever;
    else return fail(Code::kInvalid, "Metaspace 'prepend_scheme' " + name + " is unknown");
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
  TRIMTAB_TRY(TokenRegex pattern, read_pattern(json.value("pattern", Json())));
  TRIMTAB_TRY(const Behavior behavior, read_behavior(json, Behavior::kRemoved));
  return split_at(by_regex(std::move(pattern)), behavior, json_or(json, "invert", false));
}

// The parts of a Sequence, each made by `make`.
template <typename Part, typename Make>
Result<std::vector<std::unique_ptr<Part>>> make_parts(const Json& json, const char* key, int depth,
                                                      Make make) {
  if (depth >= kMaxDepth) return fail(Code::kInvalid, "Sequence nested too deeply");
  if (!json.contains(key) || !json[key].is_array() || json[key].size() > 64) {
    return fail(Code::kInvalid, std::string("Sequence without a list '") + key + "' of at most 64");
  }
  std::vector<std::unique_ptr<Part>> parts;
  for (const auto& item : json[key]) {
    TRIMTAB_TRY(auto part, make(item, depth + 1));
    if (part) parts.push_back(std::move(part));
  }
  return parts;
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

Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& json, int depth) {
  if (json.is_null()) return std::unique_ptr<Normalizer>();
  TRIMTAB_TRY(const std::string type, json_get<std::string>(json, "type"));
  if (type == "Sequence") {
    TRIMTAB_TRY(auto parts, make_parts<Normalizer>(json, "normalizers", depth, make_normalizer));
    return std::make_unique<NormalizerSequence>(std::move(parts));
  }
  TRIMTAB_TRY(Step step, make_step(type, json));
  return std::make_unique<StepNormalizer>(std::move(step));
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
  if (type == "Whitespace") {
    TRIMTAB_TRY(TokenRegex regex, TokenRegex::compile("\\w+|[^\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\s]+"));
    return split_at(by_regex(std::move(regex)), Behavior::kRemoved, true);
  }
  if (type == "Punctuation") {
    TRIMTAB_TRY(const Behavior behavior, read_behavior(json, Behavior::kIsolated));
    return split_at(by_character(is_punctuation), behavior);
  }
  return not_covered("pre-tokenizer", type);
}

}  // namespace trimtab::model
