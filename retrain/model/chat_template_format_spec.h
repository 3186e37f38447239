// One field of a format: sign, fill, width, precision, type; and numbers written by it, as both
// `"%5.1f" % x` and `"{:5.1f}".format(x)` do. Used by chat_template_format.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace trimtab::model::jinja {

inline constexpr std::int64_t kMostWidth = 100'000;  // padding is text, and text is bounded

struct FormatSpec {
  std::string fill = " ";
  char align = 0;  // < > = ^, 0: by type
  char sign = '-';
  bool alternate = false;
  char group = 0;  // , or _
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = 0;
};

[[nodiscard]] std::string first_characters(const std::string& text, std::int64_t count);
// `prefix` is the sign and base mark, which zero padding goes behind.
[[nodiscard]] std::string padded(const FormatSpec& spec, const std::string& prefix,
                                 const std::string& body, char default_align);
[[nodiscard]] std::string sign_of(bool negative, char sign);
[[nodiscard]] std::string whole_text(const FormatSpec& spec, std::int64_t value);
[[nodiscard]] std::string float_text(const FormatSpec& spec, double value);
[[nodiscard]] bool is_float_type(char type);

}  // namespace trimtab::model::jinja
