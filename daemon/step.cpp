#include "daemon/step.h"

#include "base/clock.h"
#include "base/json.h"

namespace trimtab::daemon {

Result<std::int64_t> Step::journal(Event event) {
  event.ts_ms = now_ms;
  if (event.config_hash.empty()) event.config_hash = config_hash;
  if (event.actor.empty()) event.actor = "trimtab";
  TRIMTAB_TRY(const std::int64_t seq, tx.append(event));
  event.seq = seq;
  announcements.push_back(announcement(event));
  return seq;
}

Status Step::order(EffectOrder order) {
  TRIMTAB_TRY(order.intent, tx.add({.key = order.key,
                                    .target = order.target,
                                    .kind = order.kind,
                                    .subject = order.subject,
                                    .payload = order.payload,
                                    .created_ms = now_ms,
                                    .updated_ms = now_ms}));
  orders.push_back(std::move(order));
  return {};
}

FeedEvent announcement(const Event& event) {
  const Json view = {
      {"seq", event.seq},       {"ts", format_rfc3339(event.ts_ms)}, {"kind", event.kind},
      {"target", event.target}, {"subject", event.subject},          {"from", event.from},
      {"to", event.to},         {"generation", event.generation},    {"actor", event.actor},
      {"reason", event.reason}, {"message", event.message}};
  return {.seq = event.seq, .name = event.kind, .target = event.target, .json = dump_json(view)};
}

}  // namespace trimtab::daemon
