#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <memory>

namespace trimtab::log {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"trace", "debug", "info",
                                                    "warn",  "error", "off"};
std::atomic<Level> g_level{Level::kInfo};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kTrace: return spdlog::level::trace;
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(const std::string& name) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>(name, sink);
  logger->set_level(spdlog::level::trace);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %n: %v", spdlog::pattern_time_type::utc);
  return logger;
}

// Leaked on purpose: threads may log while static destructors run.
std::shared_ptr<spdlog::logger>& owner() {
  static auto* kept = new std::shared_ptr<spdlog::logger>(make_logger("trimtab"));
  return *kept;
}

}  // namespace

Result<Level> parse_level(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Level>(i);
  }
  return fail(Code::kInvalid, "unknown log level '" + std::string(name) +
                                  "'; one of trace, debug, info, warn, error, off");
}

void set_level(Level level) { g_level = level; }
Level level() { return g_level; }

void set_program(std::string_view name) { owner() = make_logger(std::string(name)); }

void write(Level level, std::string_view line) {
  owner()->log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

bool RateLimit::allow(std::int64_t mono_ms, std::uint64_t& suppressed) {
  if (window_ms_ < 0 || mono_ms - window_ms_ >= 60'000) {
    window_ms_ = mono_ms;
    used_ = 0;
  }
  if (used_ >= per_minute_) {
    ++held_back_;
    return false;
  }
  ++used_;
  suppressed = held_back_;
  held_back_ = 0;
  return true;
}

std::string not_shown(std::uint64_t suppressed) {
  return suppressed == 0 ? "" : " (" + std::to_string(suppressed) + " like it not shown)";
}

}  // namespace trimtab::log
