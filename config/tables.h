// The tables of the two configuration files. Built once, on first use; thread-safe.
#pragma once

#include "config/daemon_settings.h"
#include "config/gateway_settings.h"
#include "config/settings.h"
#include "config/table.h"

namespace trimtab::config {

[[nodiscard]] const Section& settings_section();  // owner: Settings
[[nodiscard]] const Section& gateway_section();   // owner: GatewaySettings

// Parts, by the file that has their rows.
[[nodiscard]] Table<KafkaConnection> kafka_connection_table();  // tables_daemon.cpp
[[nodiscard]] Table<MetricsSettings> metrics_table();
[[nodiscard]] Table<LogSettings> log_table();
[[nodiscard]] Table<ServingSettings> serving_table();      // tables_serving.cpp
[[nodiscard]] Table<DriftSettings> drift_table();          // tables_drift.cpp
[[nodiscard]] Table<RetrainSettings> retrain_table();      // tables_retrain.cpp
[[nodiscard]] Table<PromotionSettings> promotion_table();  // tables_promotion.cpp

// Checks of a text; empty when it is fine, else what is wrong and what to write.
[[nodiscard]] std::string check_name(const std::string& text);      // of a target
[[nodiscard]] std::string check_http_url(const std::string& text);  // http[s]://host[:port][/path]
[[nodiscard]] std::string check_host(const std::string& text);
[[nodiscard]] std::string check_topic(const std::string& text);    // Kafka's rule
[[nodiscard]] std::string check_hours(const std::string& text);    // HH:MM-HH:MM
[[nodiscard]] std::string check_header(const std::string& text);   // an HTTP field name
[[nodiscard]] std::string check_brokers(const std::string& text);  // host:port[,host:port]..
[[nodiscard]] std::string check_not_empty(const std::string& text);

inline constexpr double kDayInMs = 86'400'000.0;
inline constexpr double kYearInMs = 366 * kDayInMs;

}  // namespace trimtab::config
