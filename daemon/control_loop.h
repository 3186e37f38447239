// ControlLoop: the sole writer. Takes what came in - batches of records, commands, outcomes of
// effects, news of jobs, the time - applies it in this order, lets every target decide, commits it
// all in one SQLite transaction with the Kafka offsets, and only then orders effects, starts
// workers and tells people.
//
//   inputs -> step() -> [begin; apply; decide; save; commit] -> effects, jobs, announcements
//
// A step is a deterministic function of the committed state and its inputs: a step that was not
// committed (crash, full disk) is done again from the same state. step() may be called by a test
// with a clock of its own; run() is the daemon's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "config/settings.h"
#include "daemon/commands.h"
#include "daemon/dedupe_window.h"
#include "daemon/effects.h"
#include "daemon/events_feed.h"
#include "daemon/feedback_join.h"
#include "daemon/ingest.h"
#include "daemon/job_port.h"
#include "daemon/record_batch.h"
#include "daemon/record_store.h"
#include "daemon/snapshot.h"
#include "daemon/state_store.h"
#include "daemon/target.h"

namespace trimtab::daemon {

struct ControlInputs {
  std::int64_t now_ms = 0;
  std::vector<std::unique_ptr<RecordBatch>> batches;
  std::vector<std::unique_ptr<PendingCommand>> commands;
  std::vector<EffectOutcome> outcomes;
  std::vector<retrain::JobEvent> jobs;
  [[nodiscard]] bool empty() const {
    return batches.empty() && commands.empty() && outcomes.empty() && jobs.empty();
  }
};

// What control reads and writes besides its own state. All outlive the loop.
struct ControlParts {
  StateStore& store;
  RecordStore& records;
  EffectRunner& effects;
  JobPort& jobs;
  EventsFeed& feed;
  OffsetBook& book;
  BatchPool& pool;
  SnapshotBoard& board;
  Clock& clock;
  Metrics& metrics;
};

class ControlLoop {
 public:
  // Makes the targets and loads what was committed.
  [[nodiscard]] static Result<std::unique_ptr<ControlLoop>> create(
      std::shared_ptr<const config::Settings> settings, std::string config_hash,
      ControlParts parts);

  // First thing: the fleet is asked, routing is published, jobs are adopted or resumed.
  [[nodiscard]] Status boot(std::int64_t now_ms);
  // kIo: nothing was committed, everything is as it was before; commands were answered 503, the
  // other inputs are still in `inputs`: call again with them. Any other error is final.
  [[nodiscard]] Status step(ControlInputs& inputs);

  // The control thread: gathers inputs until stopped. `hold` pauses and resumes ingest.
  [[nodiscard]] Status run(std::stop_token stop, BatchQueue& batches, CommandQueue& commands,
                           BoundedQueue<EffectOutcome>& outcomes,
                           const std::function<void(bool)>& hold);

  // drift's JSON pointers of each target, for the decoder.
  [[nodiscard]] std::map<std::string, std::vector<std::string>> pointers() const;
  // Extraction, for the ingest threads (const, shared): fills batch.observations.
  void observe(RecordBatch& batch) const;
  [[nodiscard]] std::uint64_t turns() const { return turns_.load(); }
  [[nodiscard]] const std::map<std::string, std::unique_ptr<Target>>& targets() const {
    return targets_;
  }
  // A reload that was validated: takes effect in the next step. Thread-safe through the inbox: the
  // command's verb is "reload" and this is its payload.
  void offer_settings(std::shared_ptr<const config::Settings> settings, std::string config_hash);

 private:
  ControlLoop(std::shared_ptr<const config::Settings> settings, std::string config_hash,
              ControlParts parts);
  [[nodiscard]] Status load();
  [[nodiscard]] Status load_seen();
  [[nodiscard]] Status apply(Step& step, ControlInputs& inputs);
  [[nodiscard]] Status apply_batch(Step& step, RecordBatch& batch);
  [[nodiscard]] Status watch(Step& step);
  [[nodiscard]] Status apply_record(Step& step, RecordBatch& batch,
                                    const DecodedRecord& decoded, const InferenceRecord& record,
                                    std::size_t index);
  [[nodiscard]] Status apply_feedback(Step& step, const Feedback& feedback);
  [[nodiscard]] CommandAnswer apply_command(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer once(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer reset_offset(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer note_log_level(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer reload(Step& step, const CommandRequest& command);
  [[nodiscard]] Result<Target*> target_of(const CommandRequest& command);
  [[nodiscard]] Status journal_inputs(Step& step, const ControlInputs& inputs);
  [[nodiscard]] Status commit(Step& step, const std::vector<OffsetRange>& ranges);
  [[nodiscard]] std::vector<OffsetRange> fresh_ranges(const ControlInputs& inputs) const;
  void announce(Step& step, ControlInputs& inputs, const std::vector<OffsetRange>& ranges,
                std::vector<CommandAnswer> answers);
  void undo_step(ControlInputs& inputs, const Error& error);
  void publish(std::int64_t now_ms);
  void run_outside(PendingCommand& command);  // erase: transactions of its own
  [[nodiscard]] Status maintain(std::int64_t now_ms);
  void check_disk(std::int64_t mono_ms, const std::function<void(bool)>& hold);
  void hold_until_written(const Error& error, std::int64_t now_ms,
                          const std::function<void(bool)>& hold);
  void written_again(const std::function<void(bool)>& hold);
  void set_paused(const char* reason, std::string message);
  void clear_paused(const char* reason);

  std::shared_ptr<const config::Settings> settings_;
  std::string config_hash_;
  ControlParts parts_;
  std::map<std::string, std::unique_ptr<Target>> targets_;
  std::map<std::string, drift::SignalExtractor> extractors_;  // never changed: ingest reads them
  FeedbackJoin join_;
  DedupeWindow seen_;
  std::map<std::string, std::string> answers_;  // by idempotency key, the newest kAnswersKept
  std::vector<std::string> answer_order_;
  bool answers_dirty_ = false;
  std::shared_ptr<const config::Settings> offered_;
  std::string offered_hash_;
  std::mutex offered_mutex_;
  std::uint64_t consumed_ = 0, accepted_ = 0, duplicates_ = 0, dead_ = 0, feedback_ = 0,
                joined_ = 0;
  std::map<std::string, std::string> paused_;  // why ingest is held: reason -> message
  bool disk_low_ = false, held_ = false;
  log::RateLimit step_lines_{6};
  std::int64_t next_disk_ms_ = 0, next_maintain_ms_ = 0, next_publish_ms_ = 0, next_signals_ms_ = 0;
  std::int64_t last_commit_ms_ = 0;
  std::shared_ptr<const Snapshot> last_snapshot_;
  std::atomic<std::uint64_t> turns_{0};
};

}  // namespace trimtab::daemon
