#include "retrain/model/tokenizer_decoders.h"

#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_regex.h"
#include "retrain/model/tokenizer_stages.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

using Tokens = std::vector<std::string>;
constexpr int kMaxDepth = 16;

class StepDecoder final : public Decoder {
 public:
  explicit StepDecoder(std::function<void(Tokens&)> step) : step_(std::move(step)) {}
  void apply(Tokens& tokens) const override { step_(tokens); }

 private:
  std::function<void(Tokens&)> step_;
};

class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<Decoder>> parts)
      : parts_(std::move(parts)) {}
  void apply(Tokens& tokens) const override {
    for (const auto& part : parts_) part->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

std::string joined(const Tokens& tokens) {
  std::string all;
  for (const auto& token : tokens) all += token;
  return all;
}

void byte_level(Tokens& tokens) {
  std::string bytes;
  for (const auto& token : tokens) append_token_bytes(token, bytes);
  tokens = {lossy_utf8(bytes)};
}

// A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte.
void byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (valid_utf8(run)) {
      out.push_back(run);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) out.emplace_back("\uFFFD");
    }
    run.clear();
  };
  for (auto& token : tokens) {
    if (const int byte = byte_of_token(token); byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

std::string strip_token(const std::string& token, std::string_view content, std::size_t start,
                        std::size_t stop) {
  std::string_view rest = token;
  for (std::size_t i = 0; i < start && rest.starts_with(content); ++i) {
    rest.remove_prefix(content.size());
  }
  for (std::size_t i = 0; i < stop && rest.ends_with(content); ++i) {
    rest.remove_suffix(content.size());
  }
  return std::string(rest);
}

Result<std::function<void(Tokens&)>> make_strip(const Json& json) {
  TRIMTAB_TRY(const std::string content, json_get<std::string>(json, "content"));
  TRIMTAB_TRY(const auto start, json_get<std::size_t>(json, "start"));
  TRIMTAB_TRY(const auto stop, json_get<std::size_t>(json, "stop"));
  if (content.empty()) return fail(Code::kInvalid, "decoder 'Strip' has an empty 'content'");
  return [=](Tokens& tokens) {
    for (auto& token : tokens) token = strip_token(token, content, start, stop);
  };
}

Result<std::function<void(Tokens&)>> make_replace(const Json& json) {
  TRIMTAB_TRY(const std::string content, json_get<std::string>(json, "content"));
  TRIMTAB_TRY(const TokenRegex pattern, read_token_pattern(json.value("pattern", Json())));
  return [pattern, content](Tokens& tokens) {
    for (auto& token : tokens) {
      // A few bytes cannot exceed the matching bound; if they did, the token stays as it is.
      if (std::string replaced = token; replace_matches(pattern, content, replaced))
        token = replaced;
    }
  };
}

Result<std::function<void(Tokens&)>> make_metaspace(const Json& json) {
  TRIMTAB_TRY(const std::string replacement, json_get<std::string>(json, "replacement"));
  const bool add_prefix = json_or(json, "add_prefix_space", true);
  const bool prepended =
      json_or<std::string>(json, "prepend_scheme", add_prefix ? "always" : "never") != "never";
  const TokenRegex mark = TokenRegex::literal(replacement);
  return [mark, prepended](Tokens& tokens) {
    std::vector<TokenRegex::Span> spans;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (!mark.find_all(tokens[i], spans)) continue;  // a literal search cannot fail
      std::string out;
      for (const auto& span : spans) {
        if (!span.matched)
          out += tokens[i].substr(span.begin, span.end - span.begin);
        else if (i > 0 || !prepended)
          out += ' ';
      }
      tokens[i] = std::move(out);
    }
  };
}

Result<std::function<void(Tokens&)>> make_bpe(const Json& json) {
  TRIMTAB_TRY(const std::string suffix, json_get<std::string>(json, "suffix"));
  const TokenRegex mark = TokenRegex::literal(suffix);
  return [mark](Tokens& tokens) {
    std::vector<TokenRegex::Span> spans;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (!mark.find_all(tokens[i], spans)) continue;
      std::string out;
      for (const auto& span : spans) {
        if (!span.matched)
          out += tokens[i].substr(span.begin, span.end - span.begin);
        else if (i + 1 < tokens.size())
          out += ' ';
      }
      tokens[i] = std::move(out);
    }
  };
}

Result<std::function<void(Tokens&)>> make_step(const std::string& type, const Json& json) {
  if (type == "ByteLevel") return byte_level;
  if (type == "ByteFallback") return byte_fallback;
  if (type == "Fuse") return [](Tokens& tokens) { tokens = {joined(tokens)}; };
  if (type == "Strip") return make_strip(json);
  if (type == "Replace") return make_replace(json);
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "BPEDecoder") return make_bpe(json);
  return fail(Code::kInvalid, "decoder '" + type + "' is not covered");
}

}  // namespace

void append_token_bytes(std::string_view token, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::size_t at = 0; at < token.size();) {
    const auto byte = character_byte(next_code_point(token, at));
    if (!byte) {
      bytes.resize(before);
      bytes += token;
      return;
    }
    bytes.push_back(static_cast<char>(*byte));
  }
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (int i = 3; i < 5; ++i) {
    const char c = token[static_cast<std::size_t>(i)];
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (c == '+' && i == 3) digit = 0;  // Rust's from_str_radix takes a sign
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

Result<std::unique_ptr<Decoder>> make_decoder(const Json& json, int depth) {
  if (json.is_null()) return std::unique_ptr<Decoder>();
  TRIMTAB_TRY(const std::string type, json_get<std::string>(json, "type"));
  if (type != "Sequence") {
    TRIMTAB_TRY(auto step, make_step(type, json));
    return std::make_unique<StepDecoder>(std::move(step));
  }
  const auto list = json.find("decoders");
  if (depth >= kMaxDepth || list == json.end() || !list->is_array() || list->size() > 64) {
    return fail(Code::kInvalid, "decoder Sequence nested too deeply or without a list 'decoders'");
  }
  std::vector<std::unique_ptr<Decoder>> parts;
  for (const auto& item : *list) {
    TRIMTAB_TRY(auto part, make_decoder(item, depth + 1));
    if (part) parts.push_back(std::move(part));
  }
  return std::make_unique<DecoderSequence>(std::move(parts));
}

}  // namespace trimtab::model
