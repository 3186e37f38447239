// What the worker's scoring does not give: a judge's verdict on each pair, or a text metric of each
// answer against the known-good text. Adds them to the scorer's OUT lines. Called on an effects
// thread.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/shadow_settings.h"
#include "daemon/judge.h"
#include "shadow/scorer.h"

namespace trimtab::daemon {

// True when the plan's score needs more than match and likelihood.
[[nodiscard]] bool needs_annotation(config::PairScore score);

// `lines`: as the scorer wrote them; the answer is the same with `judge` on each line, or
// `text_metric` on each side. `judge` may be null unless the score is judge. Judged pairs are kept
// in `cache` as they come, so that an order that is repeated pays for nothing twice.
// kInvalid when `lines` are not in the format; else what the judge answers.
[[nodiscard]] Result<std::string> annotate_scores(std::string_view lines,
                                                  std::span<const shadow::ScoreItem> items,
                                                  config::PairScore score, Judge* judge,
                                                  const std::filesystem::path& cache);

}  // namespace trimtab::daemon
