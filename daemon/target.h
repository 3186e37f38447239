// Target: one alias that the daemon looks after: its champion, its monitor, at most one job and one
// trial, its routing. Everything here is keyed by the target and owned by the control thread.
//
//   record, joined feedback -> Monitor -> alarm -> job wanted -> JobRunner -> candidate
//   candidate -> TrialRunner -> routing document, effects -> PROMOTED -> champion, re-reference
//
// All state is saved in the step's transaction (blobs under the target's name, documents for
// alarms, jobs and trials); load() makes the object equal to what was committed. Decisions look at
// nothing but that state, the step's inputs and its time.
// Files: target.cpp (inputs, save, load), target_alarms.cpp, target_jobs.cpp, target_trial.cpp,
// target_undo.cpp (undo, reverse shadow), target_commands.cpp, target_view.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/settings.h"
#include "daemon/commands.h"
#include "daemon/job_runner.h"
#include "daemon/outcome_feed.h"
#include "daemon/quantile_sketch.h"
#include "daemon/serving_state.h"
#include "daemon/step.h"
#include "daemon/trial_runner.h"
#include "drift/monitor.h"
#include "retrain/quarantine.h"
#include "shadow/history.h"
#include "shadow/reverse_shadow.h"

namespace trimtab::daemon {

// What the monitor said and what became of it.
struct OpenAlarm {
  std::string id;    // al-<n>
  std::string kind;  // drift | harm
  std::string signal;
  std::int64_t ts_ms = 0;  // event time
  std::int64_t at_ms = 0;  // control's time
  std::int64_t onset_ms = 0;
  std::int64_t tries = 0;  // candidates that ended REJECTED or INCONCLUSIVE, failed jobs
  std::int64_t examples_at_last_try = 0;
};

class Target {
 public:
  // kInvalid when the drift settings make no sense. `state_dir` is the daemon's.
  [[nodiscard]] static Result<std::unique_ptr<Target>> create(
      const config::TargetSettings& settings, const config::Settings& all);

  [[nodiscard]] const std::string& name() const { return settings_.name; }
  [[nodiscard]] const config::TargetSettings& settings() const { return settings_; }
  // A reload: policies and plans of what starts from now on. Drift's own settings keep their
  // detectors until the next re-reference of a restart.
  void set_settings(const config::TargetSettings& settings);
  [[nodiscard]] const drift::SignalExtractor& extractor() const { return monitor_.extractor(); }

  // Makes the object equal to what was committed (a fresh one where nothing was).
  [[nodiscard]] Status load(StateQueries& state);
  // Writes what changed since the last save.
  [[nodiscard]] Status save(Transaction& tx);

  // --- inputs, in their order
  // `row`: as stored, or as it would have been. `observed`: what the ingest thread extracted; it
  // stays where it is until watch().
  [[nodiscard]] Status on_record(Step& step, const InferenceRecord& record, const RecordRow& row,
                                 const std::string& unit, drift::Observation* observed);
  [[nodiscard]] Status on_joined(Step& step, const Joined& joined);
  // The monitor takes what the records and the feedback meant to it, all at once. REQUIRES: called
  // behind the inputs and before anything else. The alarms, each with the place of its input in
  // the step, are then to be raised in that order.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, drift::Alarm>> watch();
  [[nodiscard]] Status raise(Step& step, const drift::Alarm& alarm);
  [[nodiscard]] Status on_effect(Step& step, const EffectOutcome& outcome);
  [[nodiscard]] Status on_job(Step& step, const retrain::JobEvent& event) {
    return job_.on_event(step, event);
  }
  void job_start_failed(Step& step, const Error& error) { job_.start_failed(step, error); }
  [[nodiscard]] CommandAnswer on_command(Step& step, const CommandRequest& command);
  // The end of a step: time passes, decisions are made, effects are ordered.
  [[nodiscard]] Status advance(Step& step);
  // First thing after a start: ask the fleet what it has, publish what routing says.
  [[nodiscard]] Status boot(Step& step);

  // Erasure: the texts of these records leave the frozen pools, and what is counted of the units is
  // gone.
  void forget(const std::set<std::string>& record_ids, const std::set<std::uint64_t>& units);

  // The assignment unit of a record, by unit_key; never empty.
  [[nodiscard]] std::string unit_of(const InferenceRecord& record) const;
  [[nodiscard]] bool is_evaluation_unit(const std::string& unit) const;

  // --- views, for the snapshot (target_view.cpp)
  [[nodiscard]] nlohmann::json view(std::int64_t now_ms) const;
  [[nodiscard]] nlohmann::json signals_view() const;
  [[nodiscard]] nlohmann::json drift_view() const;
  // Refreshes the hold-out's size, at most every two seconds.
  void count_holdout(StateQueries& state, std::int64_t now_ms);
  void publish_metrics(Metrics& metrics, std::int64_t now_ms) const;
  [[nodiscard]] shadow::Evidence evidence(std::int64_t now_ms) const {
    return trial_.evidence(now_ms, serving_, history_);
  }
  // Something still needs this adapter's files: routing, a trial, an undo, the list of former
  // champions, the last job.
  [[nodiscard]] bool names_adapter(const std::string& adapter, std::int64_t now_ms) const;
  [[nodiscard]] const TrialRunner& trial() const { return trial_; }
  [[nodiscard]] const JobRunner& job() const { return job_; }
  [[nodiscard]] const ServingState& serving() const { return serving_; }
  [[nodiscard]] const shadow::TargetHistory& history() const { return history_; }

 private:
  Target(const config::TargetSettings& settings, const config::Settings& all,
         drift::Monitor monitor);

  // target_alarms.cpp
  [[nodiscard]] Status feed_outcomes(Step& step);
  void outcome(Step& step, const char* metric, const std::string& record_id, std::int64_t ts_ms,
               double value);
  [[nodiscard]] Status set_alarm_state(Step& step, const std::string& id, const std::string& state);
  [[nodiscard]] Status close_alarms(Step& step, const std::string& state);
  [[nodiscard]] Status close_recovered(Step& step);
  // target_jobs.cpp
  [[nodiscard]] Status advance_jobs(Step& step);
  [[nodiscard]] Status consider_job(Step& step);
  [[nodiscard]] Status look_for_bursts(Step& step);
  [[nodiscard]] Status start_job(Step& step, const retrain::Decision& decision,
                                 const TrainingMaterial& material);
  [[nodiscard]] Status job_ended(Step& step);
  [[nodiscard]] Status answer_failed(Step& step, std::int64_t examples);
  [[nodiscard]] retrain::PolicyInputs policy_inputs(const Step& step) const;
  [[nodiscard]] std::int64_t job_onset_ms() const;
  // target_trial.cpp
  [[nodiscard]] Result<std::string> start_trial(Step& step, shadow::NewTrial wanted,
                                                std::int64_t frozen_ms);
  [[nodiscard]] Status advance_trial(Step& step);
  [[nodiscard]] Status trial_ended(Step& step);
  // The open trial answers a drift, and a newer candidate for it may take its place.
  [[nodiscard]] bool may_supersede() const {
    return trial_.supersedable() && trial_.trial()->origin != shadow::Origin::kManual;
  }
  // True when the open trial made way for the candidate.
  [[nodiscard]] Result<bool> supersede_trial(Step& step, const std::string& newer);
  [[nodiscard]] TrialSurroundings surroundings(const Step& step);
  [[nodiscard]] std::int64_t label_wait_ms(const Step& step) const;
  [[nodiscard]] std::string primary_metric() const;
  [[nodiscard]] Status rereference(Step& step, const std::string& reason);
  // target_undo.cpp
  [[nodiscard]] Result<std::string> begin_undo(Step& step, const std::string& to,
                                               const std::string& actor, const std::string& reason);
  [[nodiscard]] Status advance_undo(Step& step);
  [[nodiscard]] Status consider_reverse(Step& step, const OpenAlarm& alarm);
  [[nodiscard]] Status advance_reverse(Step& step);
  [[nodiscard]] Status reconcile(Step& step);
  [[nodiscard]] Status on_survey(Step& step, const EffectOutcome& outcome);
  [[nodiscard]] Status order_fleet_call(Step& step, const char* kind,
                                        const shadow::AdapterRef& adapter);
  [[nodiscard]] std::vector<shadow::AdapterRef> desired_adapters() const;
  // target_commands.cpp
  [[nodiscard]] CommandAnswer on_register(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer on_trial_verb(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer on_retrain(Step& step, const CommandRequest& command);
  [[nodiscard]] CommandAnswer on_target_verb(Step& step, const CommandRequest& command);
  [[nodiscard]] Result<nlohmann::json> release_quarantine(Step& step, const std::string& burst,
                                                          const std::string& source_id);
  [[nodiscard]] Status journal_command(Step& step, const CommandRequest& command,
                                       const std::string& subject, const std::string& message);

  [[nodiscard]] nlohmann::json save_core() const;
  [[nodiscard]] Status restore_core(const nlohmann::json& saved);

  config::TargetSettings settings_;
  config::StateSettings state_settings_;
  std::int64_t reconcile_interval_ms_;
  drift::Monitor monitor_;
  shadow::TargetHistory history_;
  ServingState serving_;
  JobRunner job_;
  TrialRunner trial_;
  OutcomeFeed outcomes_;
  ChampionNumbers champion_numbers_;
  shadow::UnitHistory unit_history_;

  // Core state, one small blob.
  std::uint64_t records_ = 0;         // running number of records, for onsets
  std::int64_t rereferenced_ms_ = 0;  // event time; 0: never
  std::vector<OpenAlarm> alarms_;     // open: wait for a job, or are being answered by one
  bool answered_ = false;             // a job or a trial answers alarms_
  std::optional<OpenAlarm> queued_;   // the newest change seen while one was being answered
  std::optional<retrain::ManualRequest> manual_;  // `retrain` that waits for examples
  std::vector<std::int64_t> automatic_starts_ms_;
  std::vector<std::string> released_bursts_;
  std::int64_t last_job_start_ms_ = 0, last_end_ms_ = 0, armed_since_ms_ = 0;
  bool automatic_paused_ = false;     // by an operator
  bool job_waits_for_trial_ = false;  // a finished job whose candidate waits for the open trial
  struct Undo {
    shadow::AdapterRef to;
    std::string actor, reason, key;
    std::uint64_t generation = 0;  // of the routing document; 0: not written yet
  };
  std::optional<Undo> undo_;
  std::optional<shadow::ReverseShadow> reverse_;
  std::unique_ptr<PairScoring> reverse_scoring_;
  std::uint64_t fleet_calls_ = 0;  // numbers the INTENTs of reconciliation
  std::int64_t quarantined_ = 0;   // corrections held back when last looked at
  std::vector<retrain::Burst> bursts_;  // the bursts they are in
  retrain::BurstHint burst_hint_;
  std::int64_t next_look_ms_ = 0;  // for bursts, while nobody asks for a job
  std::int64_t counted_labels_ = -1, counted_examples_ = 0;  // what the last count was made from
  std::string waits_for_;

  // Not saved.
  std::vector<drift::MonitorInput> watched_;    // for watch()
  std::vector<std::uint64_t> watched_order_;    // place in the step
  std::vector<drift::RaisedAlarm> raised_;
  std::set<std::string> calls_in_flight_;  // "<kind> <adapter>"
  std::int64_t next_reconcile_ms_ = 0, next_policy_ms_ = 0;
  std::int64_t holdout_ = 0, next_holdout_ms_ = 0;
  std::string saved_core_, saved_serving_;
};

}  // namespace trimtab::daemon
