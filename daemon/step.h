// Step: one turn of control, as its parts see it: the time, the open transaction, what may be read,
// and what is to happen once the transaction has committed (orders of effects, announcements).
// Lives for one turn, on the control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "daemon/effects.h"
#include "daemon/events_feed.h"
#include "daemon/feedback_join.h"
#include "daemon/record_store.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

struct Step {
  std::int64_t now_ms = 0;
  StateStore& store;
  Transaction& tx;
  RecordStore& records;
  FeedbackJoin& join;
  Metrics& metrics;
  std::string config_hash;
  bool disk_low = false;  // no new work that writes much
  std::uint64_t monitor_inputs = 0;  // of all targets so far, for the order of their alarms

  std::vector<EffectOrder> orders = {};
  std::vector<FeedEvent> announcements = {};
  struct RoutingText {
    std::string target;
    std::uint64_t generation = 0;
    std::string json;
  };
  std::vector<RoutingText> routings = {};
  std::vector<std::string> job_cancels = {};  // workers to end

  // Appends to the journal (time and config hash are filled in) and announces it after the commit.
  [[nodiscard]] Result<std::int64_t> journal(Event event);

  // Saves the order as an INTENT and has it carried out after the commit.
  [[nodiscard]] Status order(EffectOrder order);
};

// A journaled event as the feed tells it: without the evidence, which the journal keeps.
[[nodiscard]] FeedEvent announcement(const Event& event);

}  // namespace trimtab::daemon
