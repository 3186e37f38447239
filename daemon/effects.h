// Effects: calls to the world outside (fleets, webhooks, worker processes), made by threads that
// touch no state. Control orders one after the commit that saved it as an INTENT; the outcome comes
// back to control's inbox and is an input like any other. Every effect is idempotent: after a crash
// it is ordered again under the same key.
//
// Lanes: thread 0 takes quick orders only (fleet calls, routing), so that a scoring run of minutes
// never keeps a rollback waiting.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "shadow/scorer.h"

namespace trimtab::daemon {

// What an order's payload holds is the business of its kind:
//   verify_files   {adapter, need_slots}                      -> {verdict, facts}
//   score          {champion, candidate}, items               -> the scorer's OUT lines, as text
//   load_adapter, warm_up, unload_adapter {adapter}           -> {}
//   write_routing  {routing}                                  -> {}
//   survey         {}                                         -> {endpoints: [{name, ok, message,
//   adapters}]}
struct EffectOrder {
  std::int64_t intent = 0;  // row of the INTENT; 0: an observation, which needs none
  std::string key;          // stable over restarts
  std::string kind, target, subject;
  std::string payload;  // JSON
  std::vector<shadow::ScoreItem>
      items;          // score: derived again from the frozen pool, never journaled
  bool slow = false;  // may take minutes
};

struct EffectOutcome {
  std::int64_t intent = 0;
  std::string key, kind, target, subject;
  bool ok = false;
  Code code = Code::kInternal;  // when not ok
  std::string message;          // when not ok: one line
  std::string payload;          // JSON, or a scorer's lines
};

// Does one order. Blocking, with deadlines of its own; several threads at once.
class EffectPerformer {
 public:
  virtual ~EffectPerformer() = default;
  [[nodiscard]] virtual Result<std::string> perform(const EffectOrder& order,
                                                    std::stop_token stop) = 0;
};

// Control's view: order and forget; the outcome comes to the inbox.
class EffectRunner {
 public:
  virtual ~EffectRunner() = default;
  virtual void order(EffectOrder order) = 0;
};

// Performs, with kill points around the call, and packs the outcome.
[[nodiscard]] EffectOutcome perform_order(EffectPerformer& performer, const EffectOrder& order,
                                          std::stop_token stop);

class EffectThreads final : public EffectRunner {
 public:
  using Sink = std::function<void(EffectOutcome)>;
  // `performer` and what `sink` refers to outlive stop(). `sink` is called on an effects thread.
  EffectThreads(EffectPerformer& performer, Sink sink, int threads);
  ~EffectThreads() override;
  void start();
  void stop();  // drops what is queued (it is pending in SQLite), stops calls in flight, joins
  void order(EffectOrder order) override;
  // Grows with every turn of every thread: the watchdog's sign of life.
  [[nodiscard]] std::uint64_t turns() const { return turns_.load(); }
  [[nodiscard]] std::size_t queued() const;

 private:
  void run(std::stop_token stop, bool quick_only);
  [[nodiscard]] bool take(EffectOrder& order, bool quick_only, std::stop_token stop);

  EffectPerformer& performer_;
  Sink sink_;
  const int threads_wanted_;
  mutable std::mutex mutex_;
  std::condition_variable_any filled_;
  std::deque<EffectOrder> orders_;
  std::set<std::string> known_;  // keys queued or in flight: ordering twice is ordering once
  std::atomic<std::uint64_t> turns_{0};
  std::vector<std::jthread> threads_;
};

}  // namespace trimtab::daemon
