#include "config/settings.h"

namespace trimtab::config {

const char* unit_key_name(UnitKey key) {
  switch (key) {
    case UnitKey::kUser: return "user_id";
    case UnitKey::kSession: return "session_id";
    case UnitKey::kRequest: return "request";
  }
  return "request";
}

void share_common_fields(TargetSettings& target) {
  target.retrain.data.eval_share = target.eval_share;
  target.promotion.cooldown_ms = target.retrain.cooldown_ms;
  target.promotion.max_tries = static_cast<int>(target.retrain.retry_attempts);
  target.promotion.retry_growth = target.retrain.retry_growth;
}

}  // namespace trimtab::config
