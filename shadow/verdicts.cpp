#include "shadow/verdicts.h"

#include "shadow/fields.h"

namespace trimtab::shadow {

Json to_json(const PreflightVerdict& verdict) { return detail::encode(verdict); }
Json to_json(const OfflineVerdict& verdict) { return detail::encode(verdict); }
Json to_json(const EvidenceRow& row) { return detail::encode(row); }
Json to_json(const ShadowVerdict& verdict) { return detail::encode(verdict); }
Json to_json(const LiveVerdict& verdict) { return detail::encode(verdict); }
Result<PreflightVerdict> parse_preflight_verdict(const Json& json) {
  return detail::decode_as<PreflightVerdict>(json, "preflight verdict");
}
Result<OfflineVerdict> parse_offline_verdict(const Json& json) {
  return detail::decode_as<OfflineVerdict>(json, "offline verdict");
}
Result<EvidenceRow> parse_evidence_row(const Json& json) {
  return detail::decode_as<EvidenceRow>(json, "evidence row");
}
Result<ShadowVerdict> parse_shadow_verdict(const Json& json) {
  return detail::decode_as<ShadowVerdict>(json, "shadow verdict");
}
Result<LiveVerdict> parse_live_verdict(const Json& json) {
  return detail::decode_as<LiveVerdict>(json, "live verdict");
}
Json to_json(const AdapterRef& adapter) { return detail::encode(adapter); }
Result<AdapterRef> parse_adapter_ref(const Json& json) {
  return detail::decode_as<AdapterRef>(json, "adapter");
}

}  // namespace trimtab::shadow
