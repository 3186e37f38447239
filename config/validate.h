// What no single row of the table can see: fields that contradict one another.
//
// Each finding names the field by its path (`targets[0].promotion.plan.ladder`), says what is wrong
// and what to write; the loader turns the path into a place. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/gateway_settings.h"
#include "config/settings.h"

namespace trimtab::config {

struct Finding {
  std::string path;
  std::string message;
};

[[nodiscard]] std::vector<Finding> validate(const Settings& settings);
[[nodiscard]] std::vector<Finding> validate(const GatewaySettings& settings);

// 127.0.0.0/8, ::1 and the name localhost.
[[nodiscard]] bool is_loopback(const std::string& host);

}  // namespace trimtab::config
