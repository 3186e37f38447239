// What a monitor takes from its settings: whether they make sense, how many detectors share the
// promise, and what must be equal for saved state to be used again. Private to the monitor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/drift_settings.h"
#include "drift/signals.h"

namespace trimtab::drift {

// The harm metrics, by default label_loss and complaint.
[[nodiscard]] std::vector<config::HarmMetricSettings> harm_settings(
    const config::DriftSettings& settings);
// kInvalid naming the field.
[[nodiscard]] Status check_settings(const config::DriftSettings& settings);
// Tolerance of label_loss, or the default one.
[[nodiscard]] double loss_tolerance(const config::DriftSettings& settings);
[[nodiscard]] std::size_t count_detectors(const std::vector<Signal>& signals,
                                          const config::DriftSettings& settings,
                                          std::size_t harm_metrics);
[[nodiscard]] std::uint64_t settings_fingerprint(const SignalExtractor& extractor,
                                                 const config::DriftSettings& settings,
                                                 const std::vector<std::string>& harm);

}  // namespace trimtab::drift
