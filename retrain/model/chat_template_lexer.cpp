#include "retrain/model/chat_template_lexer.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

constexpr std::size_t kMaxSourceBytes = 1 << 20;

bool python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }
bool name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool name_part(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool digit(char c) { return c >= '0' && c <= '9'; }

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t next = at;
    if (!python_space(next_code_point(text, next))) break;
    at = next;
  }
  return at;
}

bool all_space(std::string_view text) { return skip_space(text, 0) == text.size(); }

std::string_view right_stripped(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!python_space(next_code_point(text, at))) end = at;
  }
  return text.substr(0, end);
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), in_(source_) {}

  std::vector<Token> run() {
    while (at_ < in_.size()) {
      const std::size_t open = find_tag();
      if (open == std::string_view::npos) {
        put_text(in_.substr(at_));
        break;
      }
      std::string_view text = in_.substr(at_, open - at_);
      const char kind = in_[open + 1];
      std::size_t inside = open + 2;
      const char sign = inside < in_.size() ? in_[inside] : ' ';
      const bool signed_tag = sign == '-' || sign == '+';
      if (sign == '-')
        text = right_stripped(text);
      else if (sign != '+' && kind != '{')
        text = left_line_stripped(text);
      if (signed_tag) ++inside;
      put_text(text);
      line_ += count_lines(at_, open);
      at_ = inside;
      if (kind == '#')
        comment();
      else if (kind == '%' && is_raw())
        raw();
      else if (kind == '%')
        tag(Token::Kind::kBlockBegin, "%}");
      else
        tag(Token::Kind::kVariableBegin, "}}");
    }
    tokens_.push_back({Token::Kind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw JinjaError("line " + std::to_string(line_) + ": " + what);
  }
  [[nodiscard]] int count_lines(std::size_t from, std::size_t to) const {
    return static_cast<int>(std::count(in_.begin() + static_cast<std::ptrdiff_t>(from),
                                       in_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
  }

  [[nodiscard]] std::size_t find_tag() const {
    for (std::size_t open = in_.find('{', at_); open != std::string_view::npos;
         open = in_.find('{', open + 1)) {
      const char next = open + 1 < in_.size() ? in_[open + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') return open;
    }
    return std::string_view::npos;
  }

  void put_text(std::string_view text) {
    if (!text.empty()) tokens_.push_back({Token::Kind::kText, std::string(text), line_});
  }

  // lstrip_blocks: spaces between a line's beginning and a tag go.
  [[nodiscard]] std::string_view left_line_stripped(std::string_view text) const {
    const std::size_t newline = text.rfind('\n');
    const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return text;
    if (start == text.size() || !all_space(text.substr(start))) return text;
    return text.substr(0, start);
  }

  // Past the end of a tag whose closing mark stands at at_: "-" eats white space, else a block's
  // or comment's first newline goes (trim_blocks).
  void after_tag(char sign, std::size_t mark_size, bool block) {
    const std::size_t before = at_;
    at_ += mark_size;
    if (sign == '-')
      at_ = skip_space(in_, at_);
    else if (sign != '+' && block && at_ < in_.size() && in_[at_] == '\n')
      ++at_;
    line_ += count_lines(before, at_);
    line_starting_ = at_ > 0 && in_[at_ - 1] == '\n';
  }

  void comment() {
    const std::size_t close = in_.find("#}", at_);
    if (close == std::string_view::npos) refuse("missing end of comment tag");
    const char sign =
        close > at_ && (in_[close - 1] == '-' || in_[close - 1] == '+') ? in_[close - 1] : ' ';
    line_ += count_lines(at_, close);
    at_ = close;
    after_tag(sign, 2, true);
  }

  [[nodiscard]] bool is_raw() const {
    std::size_t at = skip_space(in_, at_);
    if (!in_.substr(at).starts_with("raw")) return false;
    at = skip_space(in_, at + 3);
    return in_.substr(at).starts_with("%}") || in_.substr(at).starts_with("-%}");
  }

  void raw() {
    at_ = skip_space(in_, skip_space(in_, at_) + 3);
    const bool strip = in_[at_] == '-';
    at_ += strip ? 3 : 2;
    if (strip) at_ = skip_space(in_, at_);
    line_starting_ = in_[at_ - 1] == '\n';
    for (std::size_t open = in_.find("{%", at_); open != std::string_view::npos;
         open = in_.find("{%", open + 2)) {
      std::size_t at = open + 2;
      const char sign = at < in_.size() ? in_[at] : ' ';
      if (sign == '-' || sign == '+') ++at;
      at = skip_space(in_, at);
      if (!in_.substr(at).starts_with("endraw")) continue;
      at = skip_space(in_, at + 6);
      const char end_sign = at < in_.size() && (in_[at] == '-' || in_[at] == '+') ? in_[at] : ' ';
      if (end_sign != ' ') ++at;
      if (!in_.substr(at).starts_with("%}")) continue;
      std::string_view text = in_.substr(at_, open - at_);
      if (sign == '-')
        text = right_stripped(text);
      else if (sign != '+')
        text = left_line_stripped(text);
      put_text(text);
      line_ += count_lines(at_, at);
      at_ = at;
      after_tag(end_sign, 2, true);
      return;
    }
    refuse("missing end of raw directive");
  }

  void tag(Token::Kind begin, std::string_view close) {
    const bool block = begin == Token::Kind::kBlockBegin;
    tokens_.push_back({begin, "", line_});
    int depth = 0;  // inside brackets a "}}" closes objects, not the tag
    for (;;) {
      const std::size_t next = skip_space(in_, at_);
      line_ += count_lines(at_, next);
      at_ = next;
      if (at_ >= in_.size()) refuse("unexpected end of template inside a tag");
      const std::string_view rest = in_.substr(at_);
      const bool signed_end =
          (rest[0] == '-' || (rest[0] == '+' && block)) && rest.substr(1).starts_with(close);
      if (depth == 0 && (rest.starts_with(close) || signed_end)) {
        const char sign = signed_end ? rest[0] : ' ';
        tokens_.push_back({block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd, "", line_});
        after_tag(sign, signed_end ? 3 : 2, block);
        return;
      }
      token(depth);
    }
  }

  void token(int& depth) {
    const char c = in_[at_];
    if (name_start(c)) {
      std::size_t end = at_;
      while (end < in_.size() && name_part(in_[end])) ++end;
      put(Token::Kind::kName, end);
    } else if (digit(c)) {
      number();
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      operator_token(depth);
    }
  }

  void put(Token::Kind kind, std::size_t end) {
    tokens_.push_back({kind, std::string(in_.substr(at_, end - at_)), line_});
    at_ = end;
  }

  void number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < in_.size() && (digit(in_[end]) || in_[end] == '_')) ++end;
    };
    digits();
    bool is_float = false;
    if (end + 1 < in_.size() && in_[end] == '.' && digit(in_[end + 1])) {
      is_float = true;
      ++end;
      digits();
    }
    if (end < in_.size() && (in_[end] == 'e' || in_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < in_.size() && (in_[exponent] == '+' || in_[exponent] == '-')) ++exponent;
      if (exponent < in_.size() && digit(in_[exponent])) {
        is_float = true;
        end = exponent;
        digits();
      }
    }
    put(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, end);
    std::erase(tokens_.back().text, '_');
  }

  [[nodiscard]] char32_t hex(std::size_t from, std::size_t count) const {
    char32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (from + i >= in_.size() || !std::isxdigit(static_cast<unsigned char>(in_[from + i]))) {
        refuse("a broken escape in a string");
      }
      value =
          value * 16 + static_cast<char32_t>(std::stoi(std::string(1, in_[from + i]), nullptr, 16));
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      refuse("an escape that is no character");
    return value;
  }

  // Python's escapes; an unknown one keeps its backslash.
  void escape(std::string& out) {
    const char c = in_[at_ + 1];
    at_ += 2;
    switch (c) {
      case 'n': out += '\n'; return;
      case 't': out += '\t'; return;
      case 'r': out += '\r'; return;
      case 'a': out += '\a'; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case 'v': out += '\v'; return;
      case '\\':
      case '\'':
      case '"': out += c; return;
      case '\n': return;
      default: break;
    }
    const std::size_t width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (width > 0) {
      append_code_point(out, hex(at_, width));
      at_ += width;
    } else if (c >= '0' && c <= '7') {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && at_ < in_.size() && in_[at_] >= '0' && in_[at_] <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(in_[at_++] - '0');
      }
      append_code_point(out, value);
    } else {
      out += {'\\', c};
    }
  }

  void string(char quote) {
    const int line = line_;
    std::string out;
    ++at_;
    for (;;) {
      if (at_ >= in_.size()) refuse("a string without its end");
      const char c = in_[at_];
      if (c == quote) break;
      if (c == '\n') ++line_;
      if (c == '\\' && at_ + 1 < in_.size()) {
        escape(out);
      } else {
        out += c;
        ++at_;
      }
    }
    ++at_;
    tokens_.push_back({Token::Kind::kString, std::move(out), line});
  }

  void operator_token(int& depth) {
    static constexpr std::string_view kLong[] = {"==", "!=", "<=", ">=", "//", "**"};
    for (const auto op : kLong) {
      if (in_.substr(at_).starts_with(op)) return put(Token::Kind::kOperator, at_ + 2);
    }
    const char c = in_[at_];
    if (std::string_view("+-*/%~<>=.:|,;()[]{}").find(c) == std::string_view::npos) {
      refuse(std::string("unexpected char '") + c + "'");
    }
    if (c == '(' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == ']' || c == '}') && --depth < 0)
      refuse(std::string("unexpected '") + c + "'");
    put(Token::Kind::kOperator, at_ + 1);
  }

  std::string source_;
  std::string_view in_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) {
  if (source.size() > kMaxSourceBytes) throw JinjaError("the template is larger than 1 MiB");
  std::string text;  // newlines are normalized, one at the very end goes
  const std::string clean = lossy_utf8(source);
  for (std::size_t i = 0; i < clean.size(); ++i) {
    if (clean[i] == '\r') {
      text += '\n';
      if (i + 1 < clean.size() && clean[i + 1] == '\n') ++i;
    } else {
      text += clean[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return Lexer(std::move(text)).run();
}

}  // namespace trimtab::model::jinja
