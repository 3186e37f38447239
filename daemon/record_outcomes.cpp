#include "daemon/record_outcomes.h"

#include "shadow/text/plain.h"

namespace trimtab::daemon {

bool is_refusal(const InferenceRecord& record) {
  if (record.finish == "content_filter" || record.finish == "refusal") return true;
  return shadow::is_refusal_text(record.output);
}

bool is_error(const InferenceRecord& record) {
  if (!record.error.empty()) return true;
  const auto& status = record.status;
  return !status.empty() && status != "ok" && status != "success" && status != "200";
}

std::optional<FeedbackOutcome> outcome_of(const FeedbackRow& feedback) {
  if (!feedback.score) return std::nullopt;
  if (feedback.selection == "random") return FeedbackOutcome{"label_loss", 1.0 - *feedback.score};
  if (feedback.selection == "judge") return FeedbackOutcome{"judge_loss", 1.0 - *feedback.score};
  return std::nullopt;
}

}  // namespace trimtab::daemon
