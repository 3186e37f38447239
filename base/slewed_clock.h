// SlewedClock: wall time that does not jump when somebody sets the machine's clock.
//
// Dwells, leases, back-offs and event-time bounds of the daemon are wall time; a clock that is set
// an hour forth or back would end or freeze them all (OPERATIONS.md section 5, fault 9). This clock
// starts at the wall's time, goes on with the monotonic clock, and leans towards the wall by at
// most a tenth: after a jump of an hour it is right again in ten hours, and in between every
// second is between 0.9 and 1.1 s long. It never goes back by leaning. A difference of more than
// kTakeOverMs (a suspended machine, a first NTP sync) is no slip to be ironed out: the wall's time
// is taken at once, said once in the log. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/clock.h"

namespace trimtab {

class SlewedClock final : public Clock {
 public:
  static constexpr std::int64_t kTakeOverMs = 6LL * 3'600'000;

  explicit SlewedClock(Clock& machine);  // outlives this one
  [[nodiscard]] std::int64_t now_ms() const override;
  [[nodiscard]] std::int64_t mono_ms() const override { return machine_.mono_ms(); }
  bool sleep_ms(std::int64_t duration_ms, std::stop_token stop = {}) override {
    return machine_.sleep_ms(duration_ms, stop);
  }
  // How far the machine's wall clock is ahead of this one.
  [[nodiscard]] std::int64_t wall_ahead_ms() const;

 private:
  Clock& machine_;
  mutable std::mutex mutex_;
  mutable std::int64_t seen_mono_ms_;  // under mutex, as below
  mutable double now_ms_;
  mutable bool apart_ = false;  // the log has been told
};

}  // namespace trimtab
