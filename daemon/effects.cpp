#include "daemon/effects.h"

#include <algorithm>
#include <chrono>

#include "daemon/kill_point.h"

namespace trimtab::daemon {

EffectOutcome perform_order(EffectPerformer& performer, const EffectOrder& order,
                            std::stop_token stop) {
  kill_point("effect.before");
  auto result = performer.perform(order, std::move(stop));
  kill_point("effect.after");
  EffectOutcome outcome{.intent = order.intent,
                        .key = order.key,
                        .kind = order.kind,
                        .target = order.target,
                        .subject = order.subject,
                        .ok = result.has_value(),
                        .code = Code::kInternal,
                        .message = {},
                        .payload = {}};
  if (result) {
    outcome.payload = std::move(*result);
  } else {
    outcome.code = result.error().code;
    outcome.message = result.error().message;
  }
  return outcome;
}

EffectThreads::EffectThreads(EffectPerformer& performer, Sink sink, int threads)
    : performer_(performer), sink_(std::move(sink)), threads_wanted_(std::max(2, threads)) {}

EffectThreads::~EffectThreads() { stop(); }

void EffectThreads::start() {
  for (int i = 0; i < threads_wanted_; ++i) {
    threads_.emplace_back([this, i](std::stop_token stop) { run(std::move(stop), i == 0); });
  }
}

void EffectThreads::stop() {
  for (auto& thread : threads_) thread.request_stop();
  filled_.notify_all();
  threads_.clear();
}

void EffectThreads::order(EffectOrder order) {
  {
    std::lock_guard lock(mutex_);
    if (!known_.insert(order.key).second) return;
    orders_.push_back(std::move(order));
  }
  filled_.notify_all();
}

std::size_t EffectThreads::queued() const {
  std::lock_guard lock(mutex_);
  return orders_.size();
}

bool EffectThreads::take(EffectOrder& order, bool quick_only, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto fits = [&](const EffectOrder& one) { return !quick_only || !one.slow; };
  const auto any = [&] { return std::any_of(orders_.begin(), orders_.end(), fits); };
  if (!filled_.wait_for(lock, stop, std::chrono::seconds(1), any)) return false;
  const auto it = std::find_if(orders_.begin(), orders_.end(), fits);
  order = std::move(*it);
  orders_.erase(it);
  return true;
}

void EffectThreads::run(std::stop_token stop, bool quick_only) {
  while (!stop.stop_requested()) {
    ++turns_;
    EffectOrder order;
    if (!take(order, quick_only, stop)) continue;
    auto outcome = perform_order(performer_, order, stop);
    {
      std::lock_guard lock(mutex_);
      known_.erase(order.key);
    }
    if (!stop.stop_requested()) sink_(std::move(outcome));
  }
}

}  // namespace trimtab::daemon
