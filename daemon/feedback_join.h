// FeedbackJoin: brings feedback and its record together, whichever comes first (RECORDS.md
// section 1), once per feedback_id (newest wins), within a bounded table and time.
//
// Records that are stored have a row in SQLite; feedback waits there too, with an in-memory index
// of what is waited for, so that a record costs one hash look-up. Works inside the batch's
// transaction; on rollback the index is loaded again. Detectors on labels run in event time behind
// watermark_ms(), so that a missing label never reads as a good one. Control thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

struct Joined {
  FeedbackRow feedback;
  RecordRow record;
  std::int64_t delay_ms = 0;  // feedback time - record time, >= 0
  // An upsert of a feedback_id that was joined before: detectors must not count it again.
  bool replaces = false;
};

class FeedbackJoin {
 public:
  FeedbackJoin(const config::IngestSettings& settings, Metrics& metrics);

  // Makes the object equal to what was committed. At start and after a rollback.
  [[nodiscard]] Status load(StateQueries& state);

  // Feedback arrived: stores it; returns the join if its record is stored. nullopt: it waits, or it
  // was older than what is known.
  [[nodiscard]] Result<std::optional<Joined>> on_feedback(StateStore& state, Transaction& write,
                                                          const Feedback& feedback,
                                                          std::int64_t now_ms);
  // A record got its row: returns the feedback that had been waiting for it.
  [[nodiscard]] Result<std::vector<Joined>> on_record(StateStore& state, Transaction& write,
                                                      const RecordRow& record);
  // Drops what waited too long; returns how many (counted as unmatched).
  [[nodiscard]] Result<std::int64_t> expire(Transaction& write, std::int64_t now_ms);

  // Event time up to which records can be judged complete: the newest event time seen minus the
  // allowed lateness, never back; one wrong clock cannot move it (records ahead were re-timed).
  void observe_event_time(const std::string& target, std::int64_t ts_ms);
  [[nodiscard]] std::int64_t watermark_ms(const std::string& target) const;

  // The 95 % quantile of the label delay of a target, over the last 1,000 joins; nullopt below 50.
  [[nodiscard]] std::optional<std::int64_t> label_delay_p95_ms(const std::string& target) const;
  [[nodiscard]] std::size_t waiting() const { return key_of_.size(); }

  // The label delays and event times that decisions use (W, watermark): part of the committed
  // state, so that a restart decides as an uninterrupted run would. Writes what changed.
  [[nodiscard]] Status save(Transaction& write);

 private:
  void remember_delay(const std::string& target, std::int64_t delay_ms);
  void wait_for(const FeedbackRow& row);
  void forget(const std::string& feedback_id);
  [[nodiscard]] Status bound(Transaction& write);
  [[nodiscard]] Status drop_oldest(Transaction& write);
  [[nodiscard]] Result<Joined> join(Transaction& write, FeedbackRow feedback,
                                    const RecordRow& record, bool replaces);

  const config::IngestSettings settings_;
  std::unordered_map<std::string, std::vector<std::string>> index_;  // key -> feedback ids
  std::unordered_map<std::string, std::string> key_of_;              // feedback id -> key
  std::deque<std::pair<std::int64_t, std::string>> by_age_;          // (arrived, feedback id)
  std::map<std::string, std::int64_t> newest_ms_;
  std::map<std::string, std::deque<std::int64_t>> delays_;
  bool newest_changed_ = false, delays_changed_ = false;  // since the last save
  Counter& received_;
  Counter& matched_;
  Counter& unmatched_;
  Gauge& ratio_;
  Histogram& delay_;
  Gauge& waiting_gauge_;
};

}  // namespace trimtab::daemon
