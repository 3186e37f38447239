// Seasons: which reference an event is compared with, where the traffic moves with the hour.
//
// The week has 168 hours of local time. An hour with at least 2,000 reference events is a cell of
// its own; the others are merged to day (8-20 h) and night x weekday and weekend, each a cell from
// 500 events on; what is left shares cell 0, the pooled reference (STATISTICS.md 1). Weekends are
// told apart only when the reference spans a week, day and night only when it spans two days.
// The cell follows from the event's time alone, so it is known before its value and the e-values
// stay e-values. Immutable; plain bytes to save.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace trimtab::drift {

inline constexpr std::size_t kHoursOfWeek = 168;
inline constexpr std::int64_t kLeastOfHour = 2'000;
inline constexpr std::int64_t kLeastOfGroup = 500;

class Seasons {
 public:
  Seasons() = default;  // one cell
  [[nodiscard]] static Seasons plan(const std::vector<std::int64_t>& ts_ms,
                                    double utc_offset_hours);

  // Cell 0 is the pooled one; at least 1.
  [[nodiscard]] std::size_t cells() const { return names_; }
  [[nodiscard]] std::size_t cell_of(std::int64_t ts_ms) const;
  [[nodiscard]] std::string name(std::size_t cell) const;

  // For saving: the cell of each hour, and the offset.
  struct Bytes {
    std::array<std::uint8_t, kHoursOfWeek> cell_of_hour{};
    std::int64_t offset_ms = 0;
  };
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }
  [[nodiscard]] static Seasons of(const Bytes& bytes);

 private:
  [[nodiscard]] std::size_t hour_of(std::int64_t ts_ms) const;

  Bytes bytes_;
  std::size_t names_ = 1;
};

}  // namespace trimtab::drift
