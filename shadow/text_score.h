// A text metric of one answer against the known-good text, in [0, 1]: what D is made of where a
// plan's score names one (candidate's minus champion's). The metrics are those of `score-text`
// (text/*.h), sentence by sentence: bleu with effective order and exponential smoothing, chrf with
// its defaults, rougeL without stemming, token_f1 and exact match by SQuAD's normalization. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "config/shadow_settings.h"

namespace trimtab::shadow {

[[nodiscard]] bool is_text_score(config::PairScore score);
// Empty when a text is not UTF-8 or there is no known-good text. REQUIRES: is_text_score(score).
[[nodiscard]] std::optional<double> text_score(config::PairScore score, std::string_view answer,
                                               std::string_view known_good);

}  // namespace trimtab::shadow
