#include "retrain/model/chat_template_format_spec.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

std::string repeat_text(const std::string& text, std::int64_t times) {
  std::string out;
  for (std::int64_t i = 0; i < times; ++i) out += text;
  return out;
}

// Groups of three digits (of four for binary, octal and hexadecimal) from the right.
std::string grouped(const std::string& digits, char mark, std::size_t size) {
  if (mark == 0) return digits;
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % size == 0) out += mark;
    out += digits[i];
  }
  return out;
}

std::string in_base(std::uint64_t value, unsigned base, bool capitals) {
  std::string out;
  const char* digits = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
  do {
    out.insert(out.begin(), digits[value % base]);
    value /= base;
  } while (value > 0);
  return out;
}

// The magnitude's digits as C prints them; Python's 'g' without a type keeps a ".0".
std::string float_digits(const FormatSpec& spec, double magnitude) {
  if (std::isnan(magnitude)) return std::isupper(spec.type) != 0 ? "NAN" : "nan";
  if (std::isinf(magnitude)) return std::isupper(spec.type) != 0 ? "INF" : "inf";
  char type = spec.type == 0 ? 'g' : spec.type;
  const bool percent = type == '%';
  if (percent) type = 'f', magnitude *= 100;
  if (type == 'n') type = 'g';
  if (spec.type == 0 && spec.precision < 0) return Value(magnitude).repr();
  const int precision =
      static_cast<int>(spec.precision < 0 ? 6 : std::min<std::int64_t>(spec.precision, 500));
  const std::string pattern = std::string("%") + (spec.alternate ? "#" : "") + ".*" + type;
  std::array<char, 1024> text{};
  // The pattern is made of this function's own letters.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
  const int length = std::snprintf(text.data(), text.size(), pattern.c_str(), precision, magnitude);
  std::string out(text.data(), static_cast<std::size_t>(std::clamp<int>(length, 0, 1023)));
  if (spec.type == 0 && out.find_first_of(".en") == std::string::npos) out += ".0";
  return percent ? out + "%" : out;
}

}  // namespace

std::string first_characters(const std::string& text, std::int64_t count) {
  std::size_t at = 0;
  for (std::int64_t i = 0; i < count && at < text.size(); ++i) next_code_point(text, at);
  return text.substr(0, at);
}

std::string padded(const FormatSpec& spec, const std::string& prefix, const std::string& body,
                   char default_align) {
  const auto length = static_cast<std::int64_t>(character_count(prefix) + character_count(body));
  const std::int64_t missing = spec.width - length;
  if (missing <= 0) return prefix + body;
  switch (spec.align != 0 ? spec.align : default_align) {
    case '<': return prefix + body + repeat_text(spec.fill, missing);
    case '=': return prefix + repeat_text(spec.fill, missing) + body;
    case '^':
      return repeat_text(spec.fill, missing / 2) + prefix + body +
             repeat_text(spec.fill, missing - missing / 2);
    default: return repeat_text(spec.fill, missing) + prefix + body;
  }
}

std::string sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

std::string whole_text(const FormatSpec& spec, std::int64_t value) {
  const bool negative = value < 0;
  const std::uint64_t size =
      negative ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  std::string mark;
  std::string digits;
  switch (spec.type) {
    case 'x':
    case 'X':
      mark = spec.alternate ? std::string("0") + spec.type : "";
      digits = grouped(in_base(size, 16, spec.type == 'X'), spec.group, 4);
      break;
    case 'o':
      mark = spec.alternate ? "0o" : "";
      digits = grouped(in_base(size, 8, false), spec.group, 4);
      break;
    case 'b':
      mark = spec.alternate ? "0b" : "";
      digits = grouped(in_base(size, 2, false), spec.group, 4);
      break;
    default: digits = grouped(std::to_string(size), spec.group, 3);
  }
  return padded(spec, sign_of(negative, spec.sign) + mark, digits, '>');
}

std::string float_text(const FormatSpec& spec, double value) {
  std::string digits = float_digits(spec, std::fabs(value));
  if (spec.group != 0 && std::isfinite(value)) {
    const std::size_t end = std::min(digits.find_first_of(".e%E"), digits.size());
    digits = grouped(digits.substr(0, end), spec.group, 3) + digits.substr(end);
  }
  return padded(spec, sign_of(std::signbit(value) && !std::isnan(value), spec.sign), digits, '>');
}

bool is_float_type(char type) {
  return type != 0 && std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}

std::string centered(const std::string& text, std::int64_t width, const std::string& fill) {
  width = std::min(width, kMostWidth);
  const std::int64_t missing = width - static_cast<std::int64_t>(character_count(text));
  if (missing <= 0) return text;
  const std::int64_t left = missing / 2 + (missing & width & 1);
  return repeat_text(fill, left) + text + repeat_text(fill, missing - left);
}

}  // namespace trimtab::model::jinja
