// Where `backtest` and `test` take past logs from: a file name, "-", or a Kafka range.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/settings.h"
#include "daemon/kafka_range.h"
#include "daemon/past_log.h"

namespace trimtab::cli {

// In order; a Kafka range gives one log a partition, read with the configuration's connection.
[[nodiscard]] Result<std::vector<std::unique_ptr<daemon::PastLog>>> open_past_sources(
    const std::vector<std::string>& names, const config::Settings& settings);

}  // namespace trimtab::cli
