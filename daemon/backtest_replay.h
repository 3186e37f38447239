// BacktestReplay: past logs of one target through decoder, de-duplication, feedback join, complaint
// windows and the monitor that the daemon runs (all of them the daemon's own parts, in its order),
// at several promises at once, and through its retraining policy.
//
// Time is the log's: a turn of control is taken whenever event time has moved on by a second.
// Several logs are merged by event time; one log keeps its order. Where the log shows another
// champion being promoted (a higher generation attests another adapter in arm `champion`), the
// references are taken anew as the daemon does after PROMOTED. State lives in a temporary folder.
// One thread. Bad records are counted and named, as the daemon dead-letters them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/metrics.h"
#include "config/settings.h"
#include "daemon/dedupe_window.h"
#include "daemon/feedback_join.h"
#include "daemon/outcome_feed.h"
#include "daemon/past_log.h"
#include "daemon/record_codec.h"
#include "daemon/retrain_replay.h"
#include "daemon/state_store.h"
#include "drift/backtest.h"

namespace trimtab::daemon {

struct ReplayOptions {
  std::string target;                              // empty: the only one that is configured
  std::vector<double> scales = {0.01, 0.1, 10.0};  // promises besides the configured one
  std::int64_t job_ms = 3'600'000;                 // a retraining takes so long
  bool promote = false;  // every retraining is taken to end in a promotion: references anew
  bool strict = false;   // the first bad record is an error
  std::size_t named_dead = 10;
};

struct ReplayCounts {
  std::uint64_t messages = 0, accepted = 0, duplicates = 0, probes = 0, other_targets = 0;
  std::uint64_t feedback = 0, joined = 0, dead = 0;
  std::vector<std::string> dead_lines;  // the first of them: "FILE:LINE: reason: message"
};

class BacktestReplay {
 public:
  // kInvalid: settings, an unknown target, or several targets and none named.
  [[nodiscard]] static Result<std::unique_ptr<BacktestReplay>> create(
      const config::Settings& settings, const ReplayOptions& options);
  ~BacktestReplay();

  // May be called again: later logs follow the earlier ones. kInvalid with FILE:LINE when strict;
  // else only what the store or the log cannot do.
  [[nodiscard]] Status run(std::vector<std::unique_ptr<PastLog>> logs);
  // What the log's end still owes: a last turn of control.
  [[nodiscard]] Status finish();

  [[nodiscard]] drift::BacktestResult result() const { return backtest_.result(); }
  [[nodiscard]] const drift::Backtest& backtest() const { return backtest_; }
  [[nodiscard]] const ReplayCounts& counts() const { return counts_; }
  [[nodiscard]] const std::string& target() const { return target_.name; }
  // Places of accepted records ("FILE:LINE"), by running number from 1; kept only when asked for.
  void keep_places() { keep_places_ = true; }
  [[nodiscard]] const std::vector<std::string>& places() const { return places_; }

 private:
  struct Head;
  BacktestReplay(const config::Settings& settings, config::TargetSettings target,
                 ReplayOptions options, RecordCodec codec, drift::Backtest backtest,
                 std::unique_ptr<StateStore> store, std::unique_ptr<TempFolder> folder);
  [[nodiscard]] Status pull(Head& head);
  [[nodiscard]] Status apply(const Head& head);
  [[nodiscard]] Status apply_record(const InferenceRecord& record, const Head& head);
  [[nodiscard]] Status apply_feedback(const Feedback& feedback);
  [[nodiscard]] Status on_joined(const Joined& joined);
  [[nodiscard]] Status note_dead(const std::string& where, std::string_view reason,
                                 std::string_view message);
  [[nodiscard]] RecordRow row_of(const InferenceRecord& record) const;
  void follow_champion(const RecordRow& row);
  void outcome(const char* metric, const std::string& record_id, std::int64_t ts_ms, double value);
  void take_raised();
  [[nodiscard]] Status turn();
  [[nodiscard]] Status close_units();
  [[nodiscard]] Status begin();

  const config::IngestSettings ingest_;
  const config::TargetSettings target_;
  const ReplayOptions options_;
  std::unique_ptr<TempFolder> folder_;
  std::unique_ptr<StateStore> store_;
  std::optional<Transaction> tx_;
  Metrics metrics_;
  RecordCodec codec_;
  DedupeWindow seen_;
  FeedbackJoin join_;
  OutcomeFeed outcomes_;
  drift::Backtest backtest_;
  std::vector<RetrainReplay> policies_;  // a promise
  std::vector<std::int64_t> label_ms_;   // of labelled records outside evaluation units, ascending
  std::vector<drift::Backtest::Raised> raised_;
  ReplayCounts counts_;
  std::uint64_t records_ = 0;  // running number, for onsets
  std::uint64_t uncommitted_ = 0;
  std::int64_t now_ms_ = 0;  // newest event time
  std::int64_t next_turn_ms_ = 0;
  std::optional<std::string> champion_;
  std::int64_t champion_generation_ = -1;
  bool keep_places_ = false;
  std::vector<std::string> places_;
};

}  // namespace trimtab::daemon
