#include "base/clock.h"

#include <charconv>
#include <cstdio>

namespace trimtab {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

bool digits(std::string_view text, std::size_t at, std::size_t count, int& out) {
  if (at + count > text.size()) return false;
  const char* begin = text.data() + at;
  auto [end, error] = std::from_chars(begin, begin + count, out);
  return error == std::errc() && end == begin + count && text[at] != '-';
}

// The part behind the seconds: "", ".123", "Z", "+02:00". Returns false when malformed.
bool parse_tail(std::string_view tail, std::int64_t& millis, std::int64_t& offset_min) {
  std::size_t at = 0;
  millis = 0;
  offset_min = 0;
  if (at < tail.size() && tail[at] == '.') {
    std::int64_t scale = 100;
    std::size_t first = ++at;
    for (; at < tail.size() && tail[at] >= '0' && tail[at] <= '9'; ++at, scale /= 10) {
      millis += (tail[at] - '0') * scale;
    }
    if (at == first) return false;
  }
  if (at == tail.size()) return false;
  if (tail[at] == 'Z' || tail[at] == 'z') return at + 1 == tail.size();
  if (tail[at] != '+' && tail[at] != '-') return false;
  int hours = 0;
  int minutes = 0;
  if (at + 6 != tail.size() || tail[at + 3] != ':' || !digits(tail, at + 1, 2, hours) ||
      !digits(tail, at + 4, 2, minutes) || hours > 23 || minutes > 59) {
    return false;
  }
  offset_min = (tail[at] == '-' ? -1 : 1) * (hours * 60 + minutes);
  return true;
}

}  // namespace

std::int64_t SystemClock::now_ms() const {
  return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::int64_t SystemClock::mono_ms() const {
  return duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool SystemClock::sleep_ms(std::int64_t duration_ms, std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, milliseconds(duration_ms), [] { return false; });
  return !stop.stop_requested();
}

bool ManualClock::sleep_ms(std::int64_t duration_ms, std::stop_token stop) {
  const std::int64_t until = mono_ms_.load() + duration_ms;
  std::unique_lock lock(mutex_);
  return moved_.wait(lock, stop, [&] { return mono_ms_.load() >= until; });
}

void ManualClock::advance_ms(std::int64_t by_ms) {
  {
    std::lock_guard lock(mutex_);
    wall_ms_ += by_ms;
    mono_ms_ += by_ms;
  }
  moved_.notify_all();
}

std::string format_rfc3339(std::int64_t epoch_ms) {
  namespace chrono = std::chrono;
  const chrono::sys_time<milliseconds> time{milliseconds(epoch_ms)};
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss clock{time - day};
  char text[64];
  std::snprintf(
      text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
      static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
      static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

Result<std::int64_t> parse_rfc3339(std::string_view text) {
  namespace chrono = std::chrono;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  std::int64_t millis = 0;
  std::int64_t offset_min = 0;
  const bool shape = text.size() >= 20 && text[4] == '-' && text[7] == '-' && text[13] == ':' &&
                     text[16] == ':' && (text[10] == 'T' || text[10] == 't' || text[10] == ' ');
  if (!shape || !digits(text, 0, 4, year) || !digits(text, 5, 2, month) ||
      !digits(text, 8, 2, day) || !digits(text, 11, 2, hour) || !digits(text, 14, 2, minute) ||
      !digits(text, 17, 2, second) || hour > 23 || minute > 59 || second > 60 ||
      !parse_tail(text.substr(19), millis, offset_min)) {
    return fail(Code::kInvalid, "not an RFC 3339 time; expected like 2026-11-23T01:02:03.456Z");
  }
  const chrono::year_month_day date{chrono::year(year), chrono::month(static_cast<unsigned>(month)),
                                    chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return fail(Code::kInvalid, "no such day in the calendar");
  const std::int64_t days = chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute - offset_min) * 60'000 + second * 1000LL + millis;
}

}  // namespace trimtab
