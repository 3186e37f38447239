// Logging: one line an event, to stderr (journald or a terminal picks it up).
//
// log::info("promotion {} -> {}", from, to). Arguments are formatted by fmt only when the level is
// on. Never log prompts, answers, tokens or keys. Thread-safe.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// "trace" .. "off"; kInvalid names the legal words.
[[nodiscard]] Result<Level> parse_level(std::string_view name);
void set_level(Level level);
[[nodiscard]] Level level();
// The program's name is put in front of each line ("trimtabd", "trimtab-gateway").
void set_program(std::string_view name);
void write(Level level, std::string_view line);

template <typename... Args>
void at(Level wanted, fmt::format_string<Args...> format, Args&&... args) {
  if (wanted >= level()) write(wanted, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  at(Level::kDebug, format, std::forward<Args>(args)...);
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  at(Level::kInfo, format, std::forward<Args>(args)...);
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  at(Level::kWarn, format, std::forward<Args>(args)...);
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  at(Level::kError, format, std::forward<Args>(args)...);
}

// Lets at most `per_minute` lines through each minute and counts the rest, so that a flood of bad
// input cannot fill a disk. One object a message kind; not thread-safe: owned by one thread.
class RateLimit {
 public:
  explicit RateLimit(int per_minute) : per_minute_(per_minute) {}
  // True when the caller may log now. `suppressed` gets the number of lines held back since.
  bool allow(std::int64_t mono_ms, std::uint64_t& suppressed);

 private:
  int per_minute_;
  int used_ = 0;
  std::int64_t window_ms_ = -1;
  std::uint64_t held_back_ = 0;
};

// What a line says at its end of those that RateLimit held back: nothing where there are none.
[[nodiscard]] std::string not_shown(std::uint64_t suppressed);

}  // namespace trimtab::log
