// Clock: the only door to wall time, monotonic time and sleeping.
//
// Domain code (drift, retrain, shadow, the control loop) takes a time as an argument or a Clock&,
// so that a test, a replay and a crash test can move time by hand. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since the Unix epoch, UTC. May jump when an administrator sets the clock.
  [[nodiscard]] virtual std::int64_t now_ms() const = 0;
  // Milliseconds on a clock that never goes back; for deadlines and durations.
  [[nodiscard]] virtual std::int64_t mono_ms() const = 0;
  // Returns early, with false, when a stop is requested; true when the time has passed.
  virtual bool sleep_ms(std::int64_t duration_ms, std::stop_token stop = {}) = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t now_ms() const override;
  [[nodiscard]] std::int64_t mono_ms() const override;
  bool sleep_ms(std::int64_t duration_ms, std::stop_token stop = {}) override;
};

// Time that only a test moves. sleep_ms blocks until advance() has passed its end (or a stop).
class ManualClock final : public Clock {
 public:
  explicit ManualClock(std::int64_t start_ms = 1'700'000'000'000) : wall_ms_(start_ms) {}
  [[nodiscard]] std::int64_t now_ms() const override { return wall_ms_.load(); }
  [[nodiscard]] std::int64_t mono_ms() const override { return mono_ms_.load(); }
  bool sleep_ms(std::int64_t duration_ms, std::stop_token stop = {}) override;
  void advance_ms(std::int64_t by_ms);
  // Moves the wall clock alone, as an administrator or NTP would.
  void jump_wall_ms(std::int64_t by_ms) { wall_ms_ += by_ms; }

 private:
  std::atomic<std::int64_t> wall_ms_;
  std::atomic<std::int64_t> mono_ms_{0};
  std::mutex mutex_;
  std::condition_variable_any moved_;
};

// "2026-11-23T01:02:03.456Z". Always UTC, always milliseconds.
[[nodiscard]] std::string format_rfc3339(std::int64_t epoch_ms);
// Accepts RFC 3339 with any offset and any number of fractional digits ('T' or a space between).
// kInvalid when the text is not such a time or names a day that does not exist.
[[nodiscard]] Result<std::int64_t> parse_rfc3339(std::string_view text);

}  // namespace trimtab
