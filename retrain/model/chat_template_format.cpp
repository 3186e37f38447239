// Python's two ways to format a text: `"%s" % x` (printf-style) and `"{}".format(x)` with its
// format specification (Python's library reference, "printf-style String Formatting" and "Format
// Specification Mini-Language").
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/chat_template_format_spec.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

// ---- "{:spec}" ----

std::int64_t read_number(std::string_view text, std::size_t& at, std::int64_t none) {
  std::int64_t value = none;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = std::max<std::int64_t>(value, 0) * 10 + (text[at] - '0');
    if (value > kMostWidth) throw JinjaError("a width or precision is larger than 100,000");
  }
  return value;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

FormatSpec read_spec(const std::string& text, const Value& value) {
  FormatSpec spec;
  std::size_t at = 0;
  if (!text.empty()) {
    std::size_t after = 0;
    next_code_point(text, after);
    if (after < text.size() && is_align(text[after])) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      at = after + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto next = [&](std::string_view any) {
    return at < text.size() && any.find(text[at]) != std::string_view::npos ? text[at++] : '\0';
  };
  if (const char sign = next("+- ")) spec.sign = sign;
  spec.alternate = next("#") != 0;
  if (next("0") != 0 && spec.align == 0)
    spec.fill = "0", spec.align = value.is_string() ? '<' : '=';
  spec.width = read_number(text, at, 0);
  spec.group = next(",_");
  if (next(".") != 0) {
    spec.precision = read_number(text, at, -1);
    if (spec.precision < 0) throw JinjaError("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size())
    throw JinjaError("Invalid format specifier '" + text + "' for object of type '" +
                     value.python_type() + "'");
  return spec;
}

std::string format_value(const Value& value, const std::string& text) {
  if (value.is_undefined()) {
    if (text.empty()) return {};
    throw JinjaError("unsupported format string passed to Undefined.__format__");
  }
  if (text.empty()) return value.str();
  const auto unknown = [&](char type) {
    return JinjaError(
        fmt::format("Unknown format code '{}' for object of type '{}'", type, value.python_type()));
  };
  FormatSpec spec = read_spec(text, value);
  if (value.is_string()) {
    if (spec.type != 0 && spec.type != 's') throw unknown(spec.type);
    if (spec.align == '=') throw JinjaError("'=' alignment not allowed in string format specifier");
    if (spec.sign != '-') throw JinjaError("Sign not allowed in string format specifier");
    if (spec.group != 0)
      throw JinjaError(std::string("Cannot specify '") + spec.group + "' with 's'.");
    const std::string body =
        spec.precision >= 0 ? first_characters(value.text(), spec.precision) : value.text();
    return padded(spec, "", body, '<');
  }
  if (value.is_integral() && !is_float_type(spec.type)) {
    if (spec.precision >= 0) throw JinjaError("Precision not allowed in integer format specifier");
    if (spec.type == 'c') {
      std::string one;
      append_code_point(one, static_cast<char32_t>(value.integer()));
      return padded(spec, "", one, '<');
    }
    if (spec.type != 0 && std::string_view("dxXobn").find(spec.type) == std::string_view::npos)
      throw unknown(spec.type);
    return whole_text(spec, value.integer());
  }
  if (value.is_number()) {
    if (spec.type != 0 && spec.type != 'n' && !is_float_type(spec.type)) throw unknown(spec.type);
    return float_text(spec, value.number());
  }
  throw JinjaError("unsupported format string passed to " + value.python_type() + ".__format__");
}

class BraceFormat {
 public:
  BraceFormat(Interpreter& run, const Arguments& arguments) : run_(run), arguments_(arguments) {}

  std::string text(const std::string& pattern, int depth = 0) {
    if (depth > 1) throw JinjaError("Max string recursion exceeded");
    std::string out;
    for (std::size_t at = 0; at < pattern.size();) {
      const char c = pattern[at];
      if (c != '{' && c != '}') {
        out += c;
        ++at;
      } else if (at + 1 < pattern.size() && pattern[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        throw JinjaError("Single '}' encountered in format string");
      } else {
        const std::size_t end = closing(pattern, at);
        out += field(pattern.substr(at + 1, end - at - 1), depth);
        at = end + 1;
      }
      if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
    }
    return out;
  }

 private:
  static std::size_t closing(const std::string& pattern, std::size_t open) {
    int depth = 0;
    for (std::size_t at = open; at < pattern.size(); ++at) {
      if (pattern[at] == '{') ++depth;
      if (pattern[at] == '}' && --depth == 0) return at;
    }
    throw JinjaError(open + 1 == pattern.size() ? "Single '{' encountered in format string"
                                                : "expected '}' before end of string");
  }

  // name!conversion:spec
  std::string field(const std::string& whole, int depth) {
    const std::size_t colon = whole.find(':');
    std::string name = whole.substr(0, colon);
    const std::string spec =
        colon == std::string::npos ? "" : text(whole.substr(colon + 1), depth + 1);
    std::string conversion;
    if (const std::size_t mark = name.find('!'); mark != std::string::npos) {
      conversion = name.substr(mark + 1);
      name.resize(mark);
    }
    Value value = look_up(name);
    if (conversion == "s")
      value = Value(value.str());
    else if (conversion == "r" || conversion == "a")
      value = Value(value.repr());
    else if (!conversion.empty())
      throw JinjaError("Unknown conversion specifier '" + conversion + "'");
    return format_value(value, spec);
  }

  // first(.attribute | [item])*
  Value look_up(const std::string& name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    for (std::size_t at = end; at < name.size();) {
      const bool attribute = name[at] == '.';
      const std::size_t stop =
          attribute ? std::min(name.find_first_of(".[", at + 1), name.size()) : name.find(']', at);
      if (stop == std::string::npos) throw JinjaError("Missing ']' in format string");
      const std::string part = name.substr(at + 1, stop - at - 1);
      if (part.empty()) throw JinjaError("Empty attribute in format string");
      value = attribute ? run_.attribute(value, part)
                        : run_.item(value, is_number(part)
                                               ? Value(static_cast<std::int64_t>(std::stoll(part)))
                                               : Value(part));
      at = attribute ? stop : stop + 1;
    }
    return value;
  }

  Value first(const std::string& name) {
    if (name.empty() || is_number(name)) {
      const bool automatic = name.empty();
      if (numbering_ != 0 && (numbering_ == 1) != automatic)
        throw JinjaError(automatic
                             ? "cannot switch from manual field specification to automatic field "
                               "numbering"
                             : "cannot switch from automatic field numbering to manual field "
                               "specification");
      numbering_ = automatic ? 1 : 2;
      const std::size_t index = automatic ? next_++ : static_cast<std::size_t>(std::stoll(name));
      if (index >= arguments_.positional.size())
        throw JinjaError(
            fmt::format("Replacement index {} out of range for positional args tuple", index));
      return arguments_.positional[index];
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    throw JinjaError("'" + name + "'");  // Python's KeyError
  }

  static bool is_number(const std::string& text) {
    return !text.empty() && text.size() < 10 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Interpreter& run_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
  int numbering_ = 0;  // 1 automatic, 2 by hand
};

// ---- "%.." ----

class PercentFormat {
 public:
  PercentFormat(const std::string& pattern, const Value& operand)
      : pattern_(pattern), operand_(operand) {
    if (operand.is_tuple())
      arguments_ = operand.items();
    else
      arguments_ = {operand};
  }

  std::string text() {
    std::string out;
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_++];
      if (c == '%')
        out += conversion();
      else
        out += c;
      if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
    }
    if (next_ < arguments_.size() && !operand_.is_dict() &&
        !(operand_.is_list() && !operand_.is_tuple()))
      throw JinjaError("not all arguments converted during string formatting");
    return out;
  }

 private:
  char look() const {
    if (at_ >= pattern_.size()) throw JinjaError("incomplete format");
    return pattern_[at_];
  }

  Value argument() {
    if (next_ >= arguments_.size()) throw JinjaError("not enough arguments for format string");
    return arguments_[next_++];
  }

  std::int64_t number_or_star() {
    if (at_ < pattern_.size() && pattern_[at_] == '*') {
      ++at_;
      const Value value = argument();
      if (!value.is_integral()) throw JinjaError("* wants int");
      if (std::abs(value.integer()) > kMostWidth)
        throw JinjaError("a width or precision is larger than 100,000");
      return value.integer();
    }
    return read_number(pattern_, at_, 0);
  }

  std::string conversion() {
    FormatSpec spec;
    Value named;
    bool by_name = false;
    if (look() == '(') {
      const std::size_t end = pattern_.find(')', at_);
      if (end == std::string::npos) throw JinjaError("incomplete format key");
      if (!operand_.is_dict()) throw JinjaError("format requires a mapping");
      const std::string key = pattern_.substr(at_ + 1, end - at_ - 1);
      const Value* found = operand_.field(key);
      if (found == nullptr) throw JinjaError("'" + key + "'");
      named = *found;
      by_name = true;
      at_ = end + 1;
    }
    bool zero = false;
    for (bool flags = true; flags;) {
      switch (look()) {
        case '-': spec.align = '<'; break;
        case '+': spec.sign = '+'; break;
        case ' ': spec.sign = spec.sign == '+' ? '+' : ' '; break;
        case '#': spec.alternate = true; break;
        case '0': zero = true; break;
        default: flags = false;
      }
      if (flags) ++at_;
    }
    spec.width = number_or_star();
    if (spec.width < 0) spec.width = -spec.width, spec.align = '<';
    if (look() == '.') ++at_, spec.precision = std::max<std::int64_t>(number_or_star(), 0);
    while (look() == 'l' || look() == 'h' || look() == 'L') ++at_;
    spec.type = look();
    const std::size_t position = at_++;
    if (spec.type == '%') return "%";
    return convert(spec, zero, by_name ? named : argument(), position);
  }

  std::string convert(FormatSpec spec, bool zero, const Value& value, std::size_t position) {
    const char type = spec.type;
    if (type == 's' || type == 'r' || type == 'a') {
      std::string body = type == 's' ? value.str() : value.repr();
      if (spec.precision >= 0) body = first_characters(body, spec.precision);
      return padded(spec, "", body, '>');
    }
    if (type == 'c') {
      std::string one = value.is_string() ? value.text() : "";
      if (value.is_integral()) append_code_point(one, static_cast<char32_t>(value.integer()));
      if (character_count(one) != 1) throw JinjaError("%c requires int or char");
      return padded(spec, "", one, '>');
    }
    if (zero && spec.align == 0) spec.fill = "0", spec.align = '=';
    if (std::string_view("diuxXo").find(type) != std::string_view::npos) {
      const bool decimal = type == 'd' || type == 'i' || type == 'u';
      if (!(value.is_integral() || (decimal && value.is_number())))
        throw JinjaError(fmt::format("%{} format: {} is required, not {}", type,
                                     decimal ? "a real number" : "an integer",
                                     value.python_type()));
      if (decimal) spec.type = 'd';
      const std::int64_t whole =
          value.is_integral() ? value.integer() : static_cast<std::int64_t>(value.number());
      return with_digits(spec, whole);
    }
    if (is_float_type(type)) {
      if (!value.is_number()) throw JinjaError("must be real number, not " + value.python_type());
      return float_text(spec, value.number());
    }
    throw JinjaError(fmt::format("unsupported format character '{}' (0x{:x}) at index {}", type,
                                 static_cast<unsigned>(type), position));
  }

  // "%.5d": at least that many digits.
  static std::string with_digits(FormatSpec spec, std::int64_t value) {
    if (spec.precision < 0) return whole_text(spec, value);
    FormatSpec bare = spec;
    bare.width = 0;
    bare.sign = '-';
    bare.alternate = false;
    std::string digits = whole_text(bare, value);
    if (value < 0) digits.erase(0, 1);
    const auto missing = spec.precision - static_cast<std::int64_t>(digits.size());
    if (missing > 0) digits.insert(0, static_cast<std::size_t>(missing), '0');
    return padded(spec, sign_of(value < 0, spec.sign), digits, '>');
  }

  const std::string& pattern_;
  const Value& operand_;
  std::vector<Value> arguments_;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
};

}  // namespace

std::string percent_format(const std::string& pattern, const Value& operand) {
  return PercentFormat(pattern, operand).text();
}

std::string brace_format(Interpreter& run, const std::string& pattern, const Arguments& arguments) {
  return BraceFormat(run, arguments).text(pattern);
}

}  // namespace trimtab::model::jinja
