// Alarms and monitor status as JSON: for REST, the page, explain and the demo's report.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "drift/alarm.h"
#include "drift/monitor.h"

namespace trimtab::drift {

// The drift report of one alarm: what changed, since when, how sure, what to do.
[[nodiscard]] nlohmann::json to_json(const Alarm& alarm);
[[nodiscard]] Result<Alarm> alarm_from_json(const nlohmann::json& document);
[[nodiscard]] nlohmann::json to_json(const SignalReport& report);
[[nodiscard]] nlohmann::json to_json(const MonitorStatus& status);

}  // namespace trimtab::drift
