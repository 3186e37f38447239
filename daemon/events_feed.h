// EventsFeed: what happened, for everyone who watches (GET /api/v1/events, `trimtab events
// --follow`, the web page). Control announces after the commit that made it true: persist, then
// announce. A ring of the last N; a reader that falls behind it is told so and reads the journal.
// Also carries routing changes, for long polls. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace trimtab::daemon {

struct FeedEvent {
  std::int64_t seq = 0;  // the journal's
  std::string name;      // transition | alarm | job | routing | command | effect | ..
  std::string target;    // empty: the daemon's own
  std::string json;
};

class EventsFeed {
 public:
  explicit EventsFeed(std::size_t capacity) : capacity_(capacity) {}

  void announce(std::vector<FeedEvent> events);
  struct Read {
    std::vector<FeedEvent> events;
    bool gap = false;  // events between `after` and the first one are gone from the ring
  };
  // Events with seq > after; waits at most wait_ms for one. Empty on time-out or stop.
  [[nodiscard]] Read read(std::int64_t after, std::int64_t wait_ms, std::stop_token stop);
  [[nodiscard]] std::int64_t newest() const;

  // The routing document of a target, as text, with its generation.
  void set_routing(const std::string& target, std::uint64_t generation, std::string json);
  struct RoutingText {
    std::uint64_t generation = 0;
    std::string json;  // empty: unknown target
  };
  // Waits at most wait_ms for a generation other than `known`.
  [[nodiscard]] RoutingText routing(const std::string& target, std::uint64_t known,
                                    std::int64_t wait_ms, std::stop_token stop);
  void close();

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<FeedEvent> events_;
  std::map<std::string, RoutingText> routing_;
  bool closed_ = false;
};

}  // namespace trimtab::daemon
