// Writes JSON straight into a string: for lines written once a record, where building a document
// would cost more than the record. The caller keeps the order and the nesting right.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace trimtab::daemon {

// `text` as a JSON string, quotes included. REQUIRES: valid UTF-8.
void append_json_string(std::string_view text, std::string& out);

// {"a":1,"b":..}: the comma and the key before each value.
class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) { out_ += '{'; }
  void end() { out_ += '}'; }

  std::string& key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    append_json_string(name, out_);
    out_ += ':';
    return out_;
  }
  void text(std::string_view name, std::string_view value) { append_json_string(value, key(name)); }
  void text_unless_empty(std::string_view name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  void raw(std::string_view name, std::string_view json) { key(name) += json; }
  template <typename Number>
  void number(std::string_view name, Number value) {
    fmt::format_to(std::back_inserter(key(name)), "{}", value);
  }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace trimtab::daemon
