#include "drift/seasons.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kWeekMs = 168 * kHourMs;
constexpr std::int64_t kEpochHour = 72;  // 1970-01-01 was a Thursday; hour 0 is Monday, 0 h
constexpr std::size_t kDayBegins = 8, kDayEnds = 20, kSaturday = 5;

std::size_t group_of(std::size_t hour, bool weekends) {
  const std::size_t of_day = hour % 24;
  const bool day = of_day >= kDayBegins && of_day < kDayEnds;
  const bool weekend = weekends && hour / 24 >= kSaturday;
  return (day ? 0U : 1U) + (weekend ? 2U : 0U);
}

}  // namespace

std::size_t Seasons::hour_of(std::int64_t ts_ms) const {
  const std::int64_t local = ts_ms + bytes_.offset_ms + kEpochHour * kHourMs;
  const std::int64_t within = (local % kWeekMs + kWeekMs) % kWeekMs;
  return static_cast<std::size_t>(within / kHourMs);
}

std::size_t Seasons::cell_of(std::int64_t ts_ms) const {
  return bytes_.cell_of_hour[hour_of(ts_ms)];
}

Seasons Seasons::plan(const std::vector<std::int64_t>& ts_ms, double utc_offset_hours) {
  Seasons seasons;
  seasons.bytes_.offset_ms = std::llround(utc_offset_hours * static_cast<double>(kHourMs));
  if (ts_ms.empty()) return seasons;
  const auto [first, last] = std::minmax_element(ts_ms.begin(), ts_ms.end());
  const std::int64_t span = *last - *first;
  if (span < 48 * kHourMs) return seasons;
  const bool weekends = span >= kWeekMs;
  std::array<std::int64_t, kHoursOfWeek> of_hour{};
  for (const std::int64_t ts : ts_ms) ++of_hour[seasons.hour_of(ts)];
  std::array<std::int64_t, 4> of_group{};
  for (std::size_t hour = 0; hour < kHoursOfWeek; ++hour) {
    if (of_hour[hour] < kLeastOfHour) of_group[group_of(hour, weekends)] += of_hour[hour];
  }
  std::array<std::uint8_t, 4> cell_of_group{};
  for (std::size_t group = 0; group < of_group.size(); ++group) {
    if (of_group[group] >= kLeastOfGroup) {
      cell_of_group[group] = static_cast<std::uint8_t>(seasons.names_++);
    }
  }
  for (std::size_t hour = 0; hour < kHoursOfWeek; ++hour) {
    seasons.bytes_.cell_of_hour[hour] = of_hour[hour] >= kLeastOfHour
                                            ? static_cast<std::uint8_t>(seasons.names_++)
                                            : cell_of_group[group_of(hour, weekends)];
  }
  return seasons;
}

Seasons Seasons::of(const Bytes& bytes) {
  Seasons seasons;
  seasons.bytes_ = bytes;
  seasons.names_ = 1U + *std::max_element(bytes.cell_of_hour.begin(), bytes.cell_of_hour.end());
  return seasons;
}

std::string Seasons::name(std::size_t cell) const {
  if (cell == 0) return "all hours";
  static constexpr std::array<const char*, 7> kDays = {"Mon", "Tue", "Wed", "Thu",
                                                       "Fri", "Sat", "Sun"};
  std::size_t hours = 0;
  std::size_t first = 0;
  for (std::size_t hour = kHoursOfWeek; hour-- > 0;) {
    if (bytes_.cell_of_hour[hour] != cell) continue;
    ++hours;
    first = hour;
  }
  const std::size_t of_day = first % 24;
  if (hours == 1) return std::string(kDays[first / 24]) + " " + std::to_string(of_day) + " h";
  const bool day = of_day >= kDayBegins && of_day < kDayEnds;
  const bool weekend = first / 24 >= kSaturday;
  return std::string(weekend ? "weekend " : "") + (day ? "day" : "night");
}

}  // namespace trimtab::drift
