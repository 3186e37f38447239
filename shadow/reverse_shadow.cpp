#include "shadow/reverse_shadow.h"

#include "base/json.h"

namespace trimtab::shadow {

Result<ReverseShadow> start_reverse_shadow(const TargetHistory& history, const std::string& target,
                                           const std::string& alarm_id,
                                           const config::PromotionSettings& settings,
                                           std::int64_t now_ms) {
  if (history.promoted_at_ms() == 0) {
    return fail(Code::kConflict, "no promotion to look back on");
  }
  if (now_ms - history.promoted_at_ms() > settings.reverse_shadow_within_ms) {
    return fail(Code::kConflict, "the last promotion is too long ago");
  }
  if (history.kept().empty()) return fail(Code::kConflict, "no predecessor is kept");
  ReverseShadow reverse;
  reverse.target = target;
  reverse.alarm_id = alarm_id;
  reverse.predecessor = history.kept().front();
  reverse.champion = history.champion();
  reverse.started_ms = now_ms;
  reverse.dwell_ms = settings.reverse_shadow_dwell_ms;
  return reverse;
}

ReverseVerdict decide(const ReverseShadow& reverse, const ShadowVerdict& verdict,
                      std::int64_t now_ms) {
  // Only labels that count may undo; and the gate was built with ship: improve.
  if (verdict.ship && !verdict.advisory) return ReverseVerdict::kUndo;
  const bool over = verdict.harm || verdict.exhausted || verdict.ship ||
                    now_ms - reverse.started_ms >= reverse.dwell_ms;
  return over ? ReverseVerdict::kKeepChampion : ReverseVerdict::kWait;
}

Json to_json(const ReverseShadow& reverse) {
  return {{"target", reverse.target},
          {"alarm_id", reverse.alarm_id},
          {"predecessor", to_json(reverse.predecessor)},
          {"champion", to_json(reverse.champion)},
          {"started_ms", reverse.started_ms},
          {"dwell_ms", reverse.dwell_ms}};
}

Result<ReverseShadow> parse_reverse_shadow(const Json& json) {
  ReverseShadow reverse;
  TRIMTAB_TRY(reverse.target, json_get<std::string>(json, "target"));
  TRIMTAB_TRY(reverse.alarm_id, json_get<std::string>(json, "alarm_id"));
  TRIMTAB_TRY(const auto predecessor, json_get<Json>(json, "predecessor"));
  TRIMTAB_TRY(reverse.predecessor, parse_adapter_ref(predecessor));
  TRIMTAB_TRY(const auto champion, json_get<Json>(json, "champion"));
  TRIMTAB_TRY(reverse.champion, parse_adapter_ref(champion));
  TRIMTAB_TRY(reverse.started_ms, json_get<std::int64_t>(json, "started_ms"));
  TRIMTAB_TRY(reverse.dwell_ms, json_get<std::int64_t>(json, "dwell_ms"));
  return reverse;
}

}  // namespace trimtab::shadow
