// OutcomeFeed: complaints per unit, for the harm detector, in event time.
//
// A complaint that never comes must read as 0, and one that comes late must not read as 0: so a
// slice of event time is closed only when the watermark has passed its end by W, the wait for
// feedback. The slices lie on a fixed grid of event time; records and complaints are read from the
// store, so that the whole state is one cursor however many units there are. A unit counts once a
// slice, by its first record. Units whose text is not stored (store.rate < 1) are not counted:
// the sample is by hash, so the rate is not biased. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

struct UnitOutcome {
  std::string record_id;
  std::int64_t ts_ms = 0;
  bool complained = false;
};

class OutcomeFeed {
 public:
  static constexpr std::int64_t kSliceMs = 1'000;
  static constexpr int kSlicesAStep = 600;  // bounds one step's work after an idle time
  static constexpr std::int64_t kRecordsASlice = 20'000;

  // Closes every slice that ended before watermark - wait; calls `on_unit` in order of time. Units
  // for which `counts` says no are left out (those of a trial's candidate).
  [[nodiscard]] Status close_until(StateQueries& state, const std::string& target,
                                   std::int64_t watermark_ms, std::int64_t wait_ms,
                                   const std::function<bool(const RecordRow&)>& counts,
                                   const std::function<Status(const UnitOutcome&)>& on_unit);
  [[nodiscard]] std::int64_t cursor_ms() const { return cursor_ms_; }
  void restore(std::int64_t cursor_ms) { cursor_ms_ = cursor_ms; }

 private:
  std::int64_t cursor_ms_ = 0;  // everything before it is closed; 0: nothing seen yet
};

}  // namespace trimtab::daemon
