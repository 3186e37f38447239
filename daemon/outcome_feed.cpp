#include "daemon/outcome_feed.h"

#include <algorithm>
#include <set>

#include "daemon/complaint.h"

namespace trimtab::daemon {

Status OutcomeFeed::close_until(StateQueries& state, const std::string& target,
                                std::int64_t watermark_ms, std::int64_t wait_ms,
                                const std::function<bool(const RecordRow&)>& counts,
                                const std::function<Status(const UnitOutcome&)>& on_unit) {
  const std::int64_t limit_ms = watermark_ms - wait_ms;
  for (int slice = 0; slice < kSlicesAStep; ++slice) {
    if (limit_ms - cursor_ms_ < kSliceMs) return {};
    TRIMTAB_TRY(const auto first, state.first_record_ms(target, cursor_ms_, limit_ms));
    // Slices without records have nothing to close: an idle night is one step.
    const std::int64_t next_ms = first.value_or(limit_ms);
    cursor_ms_ = std::max(cursor_ms_, next_ms - next_ms % kSliceMs);
    if (!first) return {};
    const std::int64_t end_ms = cursor_ms_ + kSliceMs;
    if (end_ms > limit_ms) return {};
    TRIMTAB_TRY(auto records, state.records({.target = target,
                                             .since_ms = cursor_ms_,
                                             .until_ms = end_ms,
                                             .narrow = true,
                                             .limit = kRecordsASlice}));
    TRIMTAB_TRY(const auto labels, state.labels({.target = target,
                                                 .since_ms = cursor_ms_,
                                                 .until_ms = end_ms,
                                                 .selection = "user",
                                                 .narrow = true,
                                                 .limit = kRecordsASlice}));
    std::set<std::uint64_t> complained;
    for (const auto& label : labels) {
      if (is_complaint(label.feedback)) complained.insert(label.record.unit_hash);
    }
    std::stable_sort(records.begin(), records.end(),
                     [](const RecordRow& a, const RecordRow& b) { return a.ts_ms < b.ts_ms; });
    std::set<std::uint64_t> seen;
    for (const auto& record : records) {
      if (!counts(record) || !seen.insert(record.unit_hash).second) continue;
      TRIMTAB_CHECK_OK(on_unit({.record_id = record.id,
                                .ts_ms = record.ts_ms,
                                .complained = complained.contains(record.unit_hash)}));
    }
    cursor_ms_ = end_ms;
  }
  return {};
}

}  // namespace trimtab::daemon
