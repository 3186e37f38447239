// What a record and its feedback say about harm, in one place: the daemon's target and the backtest
// count the same outcomes. Pure.
#pragma once

#include <optional>

#include "daemon/record.h"
#include "daemon/state_rows.h"

namespace trimtab::daemon {

// By how the answer opens (shadow/text/plain.h); a provider that filters says so in `finish`.
[[nodiscard]] bool is_refusal(const InferenceRecord& record);
[[nodiscard]] bool is_error(const InferenceRecord& record);

// A harm metric's value of one piece of feedback, in [0, 1], 1 = bad.
struct FeedbackOutcome {
  const char* metric;  // label_loss | judge_loss
  double value = 0.0;
};
// Only labels whose selection did not depend on the answer count (RECORDS.md section 1); those of
// users count as complaints per unit (outcome_feed.h). Empty: says nothing.
[[nodiscard]] std::optional<FeedbackOutcome> outcome_of(const FeedbackRow& feedback);

}  // namespace trimtab::daemon
