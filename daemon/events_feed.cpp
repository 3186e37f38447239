#include "daemon/events_feed.h"

#include <algorithm>
#include <chrono>

namespace trimtab::daemon {

void EventsFeed::announce(std::vector<FeedEvent> events) {
  if (events.empty()) return;
  {
    std::lock_guard lock(mutex_);
    for (auto& event : events) events_.push_back(std::move(event));
    while (events_.size() > capacity_) events_.pop_front();
  }
  changed_.notify_all();
}

EventsFeed::Read EventsFeed::read(std::int64_t after, std::int64_t wait_ms, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return closed_ || (!events_.empty() && events_.back().seq > after); };
  changed_.wait_for(lock, stop, std::chrono::milliseconds(wait_ms), ready);
  Read result;
  const auto first =
      std::upper_bound(events_.begin(), events_.end(), after,
                       [](std::int64_t seq, const FeedEvent& event) { return seq < event.seq; });
  result.gap = first == events_.begin() && !events_.empty() && events_.size() == capacity_ &&
               after + 1 < events_.front().seq;
  result.events.assign(first, events_.end());
  return result;
}

std::int64_t EventsFeed::newest() const {
  std::lock_guard lock(mutex_);
  return events_.empty() ? 0 : events_.back().seq;
}

void EventsFeed::set_routing(const std::string& target, std::uint64_t generation,
                             std::string json) {
  {
    std::lock_guard lock(mutex_);
    routing_[target] = {.generation = generation, .json = std::move(json)};
  }
  changed_.notify_all();
}

EventsFeed::RoutingText EventsFeed::routing(const std::string& target, std::uint64_t known,
                                            std::int64_t wait_ms, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto changed = [&] {
    const auto it = routing_.find(target);
    return closed_ || it == routing_.end() || it->second.generation != known;
  };
  if (wait_ms > 0) changed_.wait_for(lock, stop, std::chrono::milliseconds(wait_ms), changed);
  const auto it = routing_.find(target);
  return it == routing_.end() ? RoutingText{} : it->second;
}

void EventsFeed::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

}  // namespace trimtab::daemon
