// What counts as a complaint, in one place: feedback that a user gave unasked and that says the
// answer was wrong, by a low score or by a correction. Pure.
#pragma once

#include "daemon/state_rows.h"

namespace trimtab::daemon {

// Scores below it say "wrong" (0..1 scale; -1 has become 0).
inline constexpr double kGoodScore = 0.5;

[[nodiscard]] inline bool is_complaint(const FeedbackRow& feedback) {
  if (feedback.selection != "user") return false;
  if (feedback.score) return *feedback.score < kGoodScore;
  return !feedback.correction.empty();
}

}  // namespace trimtab::daemon
