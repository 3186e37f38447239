// BoundedQueue: the only queue between threads. Full means the producer is told so (try_push) or
// waits (push), never that memory grows. Thread-safe, any number of producers and consumers.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace trimtab {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // False when full or closed; the item is untouched then.
  [[nodiscard]] bool try_push(T&& item) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    filled_.notify_one();
    return true;
  }

  // Waits for room. False when closed or stopped; the item is untouched then.
  [[nodiscard]] bool push(T&& item, std::stop_token stop = {}) {
    {
      std::unique_lock lock(mutex_);
      if (!drained_.wait(lock, stop, [&] { return closed_ || items_.size() < capacity_; }) ||
          closed_) {
        return false;
      }
      items_.push_back(std::move(item));
    }
    filled_.notify_one();
    return true;
  }

  // Waits at most `wait` for an item. nullopt on time-out, stop, or closed and empty.
  template <typename Duration>
  [[nodiscard]] std::optional<T> pop(Duration wait, std::stop_token stop = {}) {
    std::optional<T> item;
    {
      std::unique_lock lock(mutex_);
      filled_.wait_for(lock, stop, wait, [&] { return closed_ || !items_.empty(); });
      if (items_.empty()) return std::nullopt;
      item = std::move(items_.front());
      items_.pop_front();
    }
    drained_.notify_one();
    return item;
  }

  [[nodiscard]] std::optional<T> try_pop() {
    std::optional<T> item;
    {
      std::lock_guard lock(mutex_);
      if (items_.empty()) return std::nullopt;
      item = std::move(items_.front());
      items_.pop_front();
    }
    drained_.notify_one();
    return item;
  }

  // No more pushes; what is inside can still be popped. Wakes all waiters.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
    drained_.notify_all();
  }

  [[nodiscard]] std::size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable_any filled_;
  std::condition_variable_any drained_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace trimtab
