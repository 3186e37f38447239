#include "config/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace trimtab::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
constexpr std::array<Unit, 6> kDurations{{{"ms", 1},
                                          {"s", 1'000},
                                          {"m", 60'000},
                                          {"h", 3'600'000},
                                          {"d", 86'400'000},
                                          {"w", 604'800'000}}};
constexpr std::array<Unit, 5> kSizes{
    {{"B", 1}, {"KiB", 1LL << 10}, {"MiB", 1LL << 20}, {"GiB", 1LL << 30}, {"TiB", 1LL << 40}}};

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of the number at the front: -? digits [. digits] or -? . digits; no exponent.
std::size_t decimal_length(std::string_view text) {
  std::size_t at = !text.empty() && text[0] == '-' ? 1 : 0;
  const std::size_t first = at;
  std::size_t digits = 0;
  while (at < text.size() && is_digit(text[at])) ++at, ++digits;
  if (digits > 1 && text[first] == '0') return 0;
  if (at < text.size() && text[at] == '.') {
    ++at;
    while (at < text.size() && is_digit(text[at])) ++at, ++digits;
  }
  return digits == 0 ? 0 : at;
}

template <std::size_t N>
Result<std::int64_t> parse_with_units(std::string_view text, const std::array<Unit, N>& units,
                                      std::string_view what, std::string_view hint) {
  if (text == "0") return 0;
  const auto bad = [&](std::string_view why) {
    return fail(Code::kInvalid, quoted(text) + " is not a " + std::string(what) + std::string(why) +
                                    "; write " + std::string(hint));
  };
  const std::size_t length = decimal_length(text);
  if (length == 0) return bad("");
  const std::string_view suffix = text.substr(length);
  if (suffix.empty()) return bad(" (the unit is missing)");
  for (const Unit& unit : units) {
    if (unit.name != suffix) continue;
    double value = 0;
    std::from_chars(text.data(), text.data() + length, value);
    const double scaled = value * static_cast<double>(unit.factor);
    if (!(std::abs(scaled) < 9e15)) return bad(" (too large)");
    if (std::abs(scaled - std::round(scaled)) > 1e-6)
      return bad(" (not a whole number of the smallest unit)");
    return static_cast<std::int64_t>(std::llround(scaled));
  }
  return bad(" (unknown unit " + quoted(suffix) + ")");
}

template <std::size_t N>
std::string format_with_units(std::int64_t value, const std::array<Unit, N>& units,
                              std::size_t zero_unit) {
  if (value == 0) return "0" + std::string(units[zero_unit].name);
  for (std::size_t i = N; i-- > 0;) {
    if (value % units[i].factor == 0) {
      return std::to_string(value / units[i].factor) + std::string(units[i].name);
    }
  }
  return std::to_string(value) + std::string(units[0].name);
}

}  // namespace

Result<std::int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = !text.empty() && text[0] == '-' ? text.substr(1) : text;
  bool plain = !digits.empty();
  for (const char c : digits) plain = plain && is_digit(c);
  if (!plain) return fail(Code::kInvalid, quoted(text) + " is not an integer");
  if (digits.size() > 1 && digits[0] == '0') {
    return fail(Code::kInvalid,
                quoted(text) +
                    " has a leading zero (some YAML readers take it as octal); write it "
                    "without");
  }
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{}) return fail(Code::kInvalid, quoted(text) + " is too large");
  return value;
}

Result<double> parse_number(std::string_view text) {
  std::size_t length = decimal_length(text);
  if (length > 0 && length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
    std::size_t at = length + 1;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const std::size_t first = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    if (at > first) length = at;
  }
  if (length == 0 || length != text.size()) {
    return fail(Code::kInvalid, quoted(text) + " is not a number");
  }
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{} || !std::isfinite(value)) {
    return fail(Code::kInvalid, quoted(text) + " is out of the range of numbers");
  }
  return value;
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  return parse_with_units(text, kDurations, "duration", "a number and ms, s, m, h, d or w: 10s");
}

Result<std::int64_t> parse_size_bytes(std::string_view text) {
  return parse_with_units(text, kSizes, "size", "a number and B, KiB, MiB, GiB or TiB: 64MiB");
}

Result<Rate> parse_rate(std::string_view text) {
  constexpr std::string_view kPer = " per ";
  const auto at = text.find(kPer);
  const auto bad = [&] {
    return fail(Code::kInvalid,
                quoted(text) + " is not a rate; write NUMBER per DURATION: 1 per 30d");
  };
  if (at == std::string_view::npos) return bad();
  const auto count = parse_number(text.substr(0, at));
  const auto per_ms = parse_duration_ms(text.substr(at + kPer.size()));
  if (!count || !per_ms || *count <= 0 || *per_ms <= 0) return bad();
  return Rate{*count, *per_ms};
}

std::string format_duration(std::int64_t duration_ms) {
  // Weeks are read but not written: 30d says more than 4.3w, and 14d is as plain as 2w.
  constexpr std::array<Unit, 5> kWritten{
      {kDurations[0], kDurations[1], kDurations[2], kDurations[3], kDurations[4]}};
  return format_with_units(duration_ms, kWritten, 1);
}

std::string format_size(std::int64_t bytes) { return format_with_units(bytes, kSizes, 0); }

std::string format_rate(const Rate& rate) {
  return format_number(rate.count) + " per " + format_duration(rate.per_ms);
}

std::string format_number(double value) {
  std::array<char, 40> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

}  // namespace trimtab::config
