#include "base/slewed_clock.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"

namespace trimtab {
namespace {

constexpr double kLean = 0.1;             // of the time that passes
constexpr std::int64_t kSayMs = 60'000;   // a difference worth a line
constexpr std::int64_t kQuietMs = 1'000;  // together again

}  // namespace

SlewedClock::SlewedClock(Clock& machine)
    : machine_(machine),
      seen_mono_ms_(machine.mono_ms()),
      now_ms_(static_cast<double>(machine.now_ms())) {}

std::int64_t SlewedClock::now_ms() const {
  std::lock_guard lock(mutex_);
  const std::int64_t mono_ms = machine_.mono_ms();
  const auto wall_ms = static_cast<double>(machine_.now_ms());
  const auto passed_ms = static_cast<double>(std::max<std::int64_t>(0, mono_ms - seen_mono_ms_));
  seen_mono_ms_ = mono_ms;
  now_ms_ += passed_ms;
  const double ahead_ms = wall_ms - now_ms_;
  if (std::abs(ahead_ms) > static_cast<double>(kTakeOverMs)) {
    log::warn("the wall clock is {:.0f} s away: its time is taken", ahead_ms / 1000.0);
    now_ms_ = wall_ms;
    apart_ = false;
    return machine_.now_ms();
  }
  if (std::abs(ahead_ms) >= static_cast<double>(kSayMs) && !apart_) {
    log::warn("the wall clock was set {:.0f} s {}: time here follows slowly",
              std::abs(ahead_ms) / 1000.0, ahead_ms > 0 ? "forth" : "back");
    apart_ = true;
  } else if (std::abs(ahead_ms) < static_cast<double>(kQuietMs)) {
    apart_ = false;
  }
  now_ms_ += std::clamp(ahead_ms, -kLean * passed_ms, kLean * passed_ms);
  return static_cast<std::int64_t>(now_ms_);
}

std::int64_t SlewedClock::wall_ahead_ms() const { return machine_.now_ms() - now_ms(); }

}  // namespace trimtab
