// Internal to base/net: a bounded pool of threads that starts its threads when they are needed.
//
// submit() never waits: it says no when all threads are busy and the queue is full. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace trimtab::net {

class Pool {
 public:
  Pool(std::size_t threads_max, std::size_t queue_max)
      : threads_max_(threads_max), queue_max_(queue_max) {}
  ~Pool() { join(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] bool submit(std::function<void()> job) {
    {
      std::lock_guard lock(mutex_);
      const std::size_t free = threads_.size() - busy_;  // a thread that is about to take a job
      const bool startable = threads_.size() < threads_max_;
      if (closed_) return false;
      if (jobs_.size() >= free) {
        if (startable) {
          threads_.emplace_back([this] { work(); });
        } else if (jobs_.size() >= free + queue_max_) {
          return false;
        }
      }
      jobs_.push_back(std::move(job));
    }
    filled_.notify_one();
    return true;
  }

  [[nodiscard]] std::size_t unfinished() const {
    std::lock_guard lock(mutex_);
    return busy_ + jobs_.size();
  }

  // Finishes what was submitted, then joins.
  void join() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      filled_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      ++busy_;
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
      --busy_;
    }
  }

  const std::size_t threads_max_;
  const std::size_t queue_max_;
  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;  // changed under the mutex; joined after closed_
  std::size_t busy_ = 0;
  bool closed_ = false;
};

}  // namespace trimtab::net
