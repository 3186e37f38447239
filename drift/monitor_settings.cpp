#include "drift/monitor_settings.h"

#include <algorithm>

#include "base/hash.h"
#include "drift/reference.h"
#include "drift/segment.h"

namespace trimtab::drift {

std::vector<config::HarmMetricSettings> harm_settings(const config::DriftSettings& settings) {
  if (!settings.harm.empty()) return settings.harm;
  std::vector<config::HarmMetricSettings> all(2);
  all[0].name = "label_loss";
  all[1].name = "complaint";
  return all;
}

Status check_settings(const config::DriftSettings& s) {
  if (s.reference_size < kMinReference) {
    return fail(Code::kInvalid,
                "drift.reference_size: at least 500, not " + std::to_string(s.reference_size));
  }
  if (s.reference_size > 200'000) {
    return fail(Code::kInvalid,
                "drift.reference_size: at most 200000 (300 bytes a record are kept)");
  }
  if (!(s.false_alarms > 0.0) || s.false_alarms_per_ms <= 0) {
    return fail(Code::kInvalid, "drift.false_alarms: must promise more than 0 per a positive time");
  }
  if (s.session_window_ms < 0) return fail(Code::kInvalid, "drift.session_window: below 0");
  if (s.half_life_events < 8 || s.half_life_events > 20'000) {
    return fail(Code::kInvalid, "drift.half_life_events: from 8 to 20000");
  }
  if (s.max_segments < 1 || s.max_segments > 1'000) {
    return fail(Code::kInvalid, "drift.max_segments: from 1 to 1000");
  }
  if (!(s.embedding_rate >= 0.0 && s.embedding_rate <= 1.0)) {
    return fail(Code::kInvalid, "drift.embedding_rate: from 0 to 1");
  }
  if (!(s.min_theta >= 0.1 && s.min_theta <= 1.0)) {
    return fail(Code::kInvalid, "drift.min_theta: from .1 to 1");
  }
  if (!(s.harm_recovery_alpha > 0.0 && s.harm_recovery_alpha < 1.0)) {
    return fail(Code::kInvalid, "drift.harm_recovery_alpha: between 0 and 1");
  }
  const auto harm = harm_settings(s);
  for (std::size_t i = 0; i < harm.size(); ++i) {
    if (harm[i].name.empty()) return fail(Code::kInvalid, "drift.harm: a metric without a name");
    if (!(harm[i].tolerance >= 0.0 && harm[i].tolerance < 1.0) || harm[i].min_reference < 30 ||
        harm[i].max_reference < harm[i].min_reference) {
      return fail(Code::kInvalid,
                  "drift.harm: " + harm[i].name +
                      ": tolerance in [0, 1), 30 <= min_reference <= max_reference");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (harm[j].name == harm[i].name) {
        return fail(Code::kInvalid, "drift.harm: '" + harm[i].name + "' is there twice");
      }
    }
  }
  return {};
}

double loss_tolerance(const config::DriftSettings& settings) {
  for (const auto& metric : harm_settings(settings)) {
    if (metric.name == "label_loss") return metric.tolerance;
  }
  return config::HarmMetricSettings{}.tolerance;
}

// A detector more raises every threshold: the promise is shared (e-Bonferroni).
std::size_t count_detectors(const std::vector<Signal>& signals,
                            const config::DriftSettings& settings, std::size_t harm_metrics) {
  std::size_t everywhere = 0;
  std::size_t text = 0;
  for (const Signal& signal : signals) {
    if (!signal.alarm) continue;
    ++(is_text(signal) ? text : everywhere);
  }
  const std::size_t segments =
      settings.segments.empty()
          ? 0
          : static_cast<std::size_t>(settings.max_segments) + settings.segments.size();
  return std::max<std::size_t>(1, everywhere * (1 + segments) + text + harm_metrics);
}

// What must be equal for saved state to be used again.
std::uint64_t settings_fingerprint(const SignalExtractor& extractor,
                                   const config::DriftSettings& settings,
                                   const std::vector<std::string>& harm) {
  std::string text =
      std::to_string(settings.half_life_events) + "|" + std::to_string(settings.max_segments);
  for (const Signal& signal : extractor.signals()) {
    text += "|" + signal.name + ":" + std::to_string(static_cast<int>(signal.kind)) + ":" +
            std::to_string(static_cast<int>(signal.source)) + ":" +
            std::to_string(signal.min_effect);
  }
  for (const auto& pointer : extractor.pointers()) text += "|" + pointer;
  for (const auto& field : extractor.segment_fields()) text += "|" + field;
  for (const auto& name : harm) text += "|" + name;
  return stable_hash(text);
}

}  // namespace trimtab::drift
