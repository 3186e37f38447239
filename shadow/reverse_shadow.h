// Reverse shadow: after a harm alarm soon after a promotion, was the predecessor better?
//
// The kept predecessor is scored against the champion on the frozen pool, beside the retraining
// job: no trial, no cool-down. Predecessor superior on `new` and non-inferior on `old` = undo and
// cancel the job; anything else by its dwell = the job goes on. Pure; control owns the pool.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "config/shadow_settings.h"
#include "shadow/adapter_ref.h"
#include "shadow/history.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

struct ReverseShadow {
  std::string target, alarm_id;
  AdapterRef predecessor, champion;  // the predecessor plays the candidate
  std::int64_t started_ms = 0;
  std::int64_t dwell_ms = 0;
};

// What its scoring goes by: the subject of its orders, and a folder's name.
[[nodiscard]] inline std::string reverse_name(const std::string& alarm_id) {
  return "reverse-" + alarm_id;
}

// Is one due? kConflict with the reason when not (no promotion, too long ago, nothing kept).
[[nodiscard]] Result<ReverseShadow> start_reverse_shadow(const TargetHistory& history,
                                                         const std::string& target,
                                                         const std::string& alarm_id,
                                                         const config::PromotionSettings& settings,
                                                         std::int64_t now_ms);
enum class ReverseVerdict { kWait, kUndo, kKeepChampion };
[[nodiscard]] ReverseVerdict decide(const ReverseShadow& reverse, const ShadowVerdict& verdict,
                                    std::int64_t now_ms);
[[nodiscard]] nlohmann::json to_json(const ReverseShadow& reverse);
[[nodiscard]] Result<ReverseShadow> parse_reverse_shadow(const nlohmann::json& json);

}  // namespace trimtab::shadow
