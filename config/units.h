// The units of the configuration: durations (`250ms 10s 5m 1h 30d 2w`), sizes (`512B 64KiB 1GiB`)
// and rates (`1 per 30d`), parsed strictly and printed back in the largest exact unit.
//
// Every parser takes the whole text, accepts no spaces but those of a rate, and answers kInvalid
// with what to write instead. Pure functions; also used by the command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::config {

// "2 per 30d": `count` events expected in `per_ms`.
struct Rate {
  double count = 0;
  std::int64_t per_ms = 0;
  bool operator==(const Rate&) const = default;
};

// A plain decimal integer: no leading zero (YAML 1.1 reads 0755 as 493), no 0x, no '_', no '+'.
[[nodiscard]] Result<std::int64_t> parse_integer(std::string_view text);
// A finite decimal number: 1, .05, 2.5, 1e-3. Not nan, inf, hex.
[[nodiscard]] Result<double> parse_number(std::string_view text);
// A number, at once followed by ms, s, m, h, d or w, giving whole milliseconds; or 0.
[[nodiscard]] Result<std::int64_t> parse_duration_ms(std::string_view text);
// A number, at once followed by B, KiB, MiB, GiB or TiB (powers of 1024), whole bytes; or 0.
[[nodiscard]] Result<std::int64_t> parse_size_bytes(std::string_view text);
// NUMBER " per " DURATION, both positive.
[[nodiscard]] Result<Rate> parse_rate(std::string_view text);

[[nodiscard]] std::string format_duration(std::int64_t duration_ms);  // 90000 -> "90s", 0 -> "0s"
[[nodiscard]] std::string format_size(std::int64_t bytes);            // 65536 -> "64KiB"
[[nodiscard]] std::string format_rate(const Rate& rate);              // "1 per 30d"
// Shortest text that parse_number reads back to the same value.
[[nodiscard]] std::string format_number(double value);

}  // namespace trimtab::config
