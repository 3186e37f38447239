#include "drift/parameters.h"

#include <charconv>
#include <cmath>

#include "base/check.h"

namespace trimtab::drift {
namespace {

// "one of: a|b" at the end of a text parameter's doc lists what is allowed.
bool allowed(std::string_view doc, std::string_view value) {
  constexpr std::string_view kOneOf = "one of: ";
  const auto at = doc.find(kOneOf);
  if (at == std::string_view::npos) return true;
  std::string_view rest = doc.substr(at + kOneOf.size());
  while (true) {
    const auto bar = rest.find('|');
    if (rest.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) return false;
    rest = rest.substr(bar + 1);
  }
}

std::string shown(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

// A bound a hair beside a whole number stands for that number left out.
bool is_open(double bound) {
  const double whole = std::round(bound);
  return bound != whole && std::abs(bound - whole) < 1e-9;
}

std::string range_text(const Parameter& row) {
  const auto whole = [](double x) { return shown(std::round(x)); };
  const std::string low =
      is_open(row.low) ? "above " + whole(row.low) : "at least " + shown(row.low);
  const std::string high =
      is_open(row.high) ? "below " + whole(row.high) : "at most " + shown(row.high);
  return low + " and " + high;
}

Status check_value(const Parameter& row, const std::string& value) {
  const std::string where = "--set " + std::string(row.name) + "=" + value;
  switch (row.type) {
    case Parameter::Type::kNumber:
    case Parameter::Type::kInteger: {
      const auto number = parse_number(value);
      if (!number) return fail(Code::kInvalid, where + ": not a number");
      if (row.type == Parameter::Type::kInteger && *number != std::floor(*number)) {
        return fail(Code::kInvalid, where + ": must be a whole number");
      }
      if (*number < row.low || *number > row.high) {
        return fail(Code::kInvalid, where + ": must be " + range_text(row));
      }
      return {};
    }
    case Parameter::Type::kFlag:
      if (value == "true" || value == "false") return {};
      return fail(Code::kInvalid, where + ": must be true or false");
    case Parameter::Type::kText:
      if (allowed(row.doc, value)) return {};
      return fail(Code::kInvalid, where + ": not allowed; " + row.doc);
  }
  return fail(Code::kInternal, where + ": parameter table without a type");
}

std::string known_names(std::span<const Parameter> table) {
  std::string names;
  for (const auto& row : table) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names.empty() ? "none" : names;
}

// Of a number that from_chars finds out of range: its exponent is below zero, or it has none and
// is a fraction of more zeros than a double holds.
bool is_underflow(std::string_view text) {
  const auto exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) return text.substr(exponent + 1).starts_with('-');
  return text.find_first_of("123456789") > text.find('.');
}

}  // namespace

Result<double> parse_number(std::string_view given) {
  constexpr std::size_t kShown = 60;  // of a text that is none
  std::string_view text = given;
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  // Too small for a double is 0; too large is no number.
  const bool tiny = error == std::errc::result_out_of_range && is_underflow(text);
  if (tiny) value = text.front() == '-' ? -0.0 : 0.0;
  if (text.empty() || (error != std::errc{} && !tiny) || at != end || !std::isfinite(value)) {
    const bool cut = given.size() > kShown;
    return fail(Code::kInvalid, "'" + std::string(given.substr(0, kShown)) + (cut ? ".." : "") +
                                    "' is not a finite number");
  }
  return value;
}

Result<Parameters> Parameters::parse(std::span<const Parameter> table,
                                     const ParameterPairs& given) {
  Parameters result;
  for (const auto& row : table) result.values_.push_back({&row, row.fallback});
  std::vector<bool> seen(table.size(), false);
  for (const auto& [name, value] : given) {
    bool found = false;
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (name != table[i].name) continue;
      found = true;
      if (seen[i]) return fail(Code::kInvalid, "--set " + name + ": given twice");
      seen[i] = true;
      TRIMTAB_CHECK_OK(check_value(table[i], value));
      result.values_[i].value = value;
    }
    if (!found) {
      return fail(Code::kInvalid,
                  "--set " + name + ": no such parameter; known: " + known_names(table));
    }
  }
  return result;
}

const Parameters::Value& Parameters::find(std::string_view name) const {
  for (const auto& value : values_) {
    if (name == value.row->name) return value;
  }
  CHECK(false, "a parameter that is not in its table");
}

bool Parameters::has(std::string_view name) const { return !find(name).value.empty(); }

double Parameters::number(std::string_view name) const {
  const auto parsed = parse_number(find(name).value);
  CHECK(parsed.has_value(), "a numeric parameter without a value");
  return *parsed;
}

std::int64_t Parameters::integer(std::string_view name) const {
  return static_cast<std::int64_t>(number(name));
}

bool Parameters::flag(std::string_view name) const { return find(name).value == "true"; }

const std::string& Parameters::text(std::string_view name) const { return find(name).value; }

}  // namespace trimtab::drift
