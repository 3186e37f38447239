#include "daemon/record_outcomes.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace trimtab::daemon {

bool is_refusal(const InferenceRecord& record) {
  if (record.finish == "content_filter" || record.finish == "refusal") return true;
  static constexpr std::array<std::string_view, 8> kOpenings = {
      "I'm sorry, but I can", "I\u2019m sorry, but I can", "I cannot ", "I can't assist",
      "I can\u2019t assist",  "I can't help with",         "As an AI",  "I am unable to"};
  return std::any_of(kOpenings.begin(), kOpenings.end(),
                     [&](std::string_view opening) { return record.output.starts_with(opening); });
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
