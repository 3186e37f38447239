// Parameters of a detector or test by name: a table says what exists (default, range, doc,
// source), and `--set name=value` pairs are checked against it, all problems on one line.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace trimtab::drift {

struct Parameter {
  enum class Type : std::uint8_t { kNumber, kInteger, kFlag, kText };
  const char* name;
  Type type;
  const char* fallback;  // "" = none: absent unless given
  double low;            // allowed range of numbers, inclusive
  double high;
  const char* doc;     // for kText: ends with "one of: a|b|c" when only those are allowed
  const char* source;  // where the default comes from
};

using ParameterPairs = std::vector<std::pair<std::string, std::string>>;

class Parameters {
 public:
  // kInvalid: an unknown or repeated name, a value that does not parse or is out of range.
  [[nodiscard]] static Result<Parameters> parse(std::span<const Parameter> table,
                                                const ParameterPairs& given);
  [[nodiscard]] bool has(std::string_view name) const;
  // REQUIRES (CHECK): `name` is in the table and has a value of that type.
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] std::int64_t integer(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] const std::string& text(std::string_view name) const;
  // Name, value in force, table row; in table order. For `params` in a JSON answer.
  struct Value {
    const Parameter* row;
    std::string value;  // empty: absent
  };
  [[nodiscard]] const std::vector<Value>& values() const { return values_; }

 private:
  [[nodiscard]] const Value& find(std::string_view name) const;
  std::vector<Value> values_;
};

// Strict: the whole text is one finite number.
[[nodiscard]] Result<double> parse_number(std::string_view text);

}  // namespace trimtab::drift
