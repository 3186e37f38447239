// TrialRunner: one trial's evidence and effects around the pure state machine of shadow/trial.h.
//
// Each step it gathers what has been observed, asks advance(), journals the transition with the
// evidence it was drawn from, and orders the effects that the new state wants. Everything is saved
// in the step's transaction before any effect is ordered (INTENT -> call -> APPLIED).
// Control thread only. One trial at a time; the last one stays readable until the next starts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>

#include "config/settings.h"
#include "daemon/pair_scoring.h"
#include "daemon/quantile_sketch.h"
#include "daemon/serving_state.h"
#include "daemon/step.h"
#include "shadow/ab.h"
#include "shadow/history.h"
#include "shadow/trial.h"

namespace trimtab::daemon {

// What the trial needs to know of its surroundings in this step.
struct TrialSurroundings {
  ServingState& serving;
  const shadow::TargetHistory& history;
  const ChampionNumbers& champion;
  std::int64_t watermark_ms = 0;
  std::int64_t label_wait_ms = 0;  // W for a comparison that starts now
};

class TrialRunner {
 public:
  explicit TrialRunner(const config::TargetSettings& settings) : settings_(&settings) {}

  [[nodiscard]] bool open() const { return trial_ && !shadow::is_end(trial_->state); }
  [[nodiscard]] const std::optional<shadow::Trial>& trial() const { return trial_; }
  [[nodiscard]] const PairScoring* scoring() const { return scoring_.get(); }

  // Saves the new trial and its frozen pool. REQUIRES: !open().
  [[nodiscard]] Status start(Step& step, shadow::Trial trial, std::unique_ptr<PairScoring> scoring);
  void on_record(const shadow::LiveRecord& record, const shadow::RoutingHistory& documents);
  void on_feedback(const shadow::LiveFeedback& feedback);
  [[nodiscard]] Status on_effect(Step& step, const EffectOutcome& outcome);
  // Transitions until nothing changes, then the effects. True when the trial ended in this call.
  [[nodiscard]] Result<bool> advance(Step& step, TrialSurroundings around);
  // After a restart: orders what the present state wants and is not known to have happened.
  [[nodiscard]] Status resume(Step& step, TrialSurroundings around);
  // A newer candidate for the same drift is here: SUPERSEDED where the plan and the state allow it,
  // or whatever outranks that. REQUIRES: open().
  [[nodiscard]] Status supersede(Step& step, const std::string& newer, TrialSurroundings around);
  // May it be, as far as state and plan say?
  [[nodiscard]] bool supersedable() const {
    return open() && trial_->state <= shadow::State::kShadow && trial_->plan.supersede;
  }
  // An operator's command; journaled. The new state's effects are ordered by the step's advance().
  [[nodiscard]] Status command(Step& step, const shadow::Command& command, TrialSurroundings around,
                               const std::string& idempotency_key);
  [[nodiscard]] shadow::Evidence evidence(std::int64_t now_ms, const ServingState& serving,
                                          const shadow::TargetHistory& history) const;

  void forget(const std::set<std::string>& record_ids) {
    if (scoring_) scoring_->forget(record_ids);
  }

  [[nodiscard]] Status save(Transaction& tx, const std::string& target);
  [[nodiscard]] Status load(StateQueries& state, const std::string& target);

 private:
  struct EffectRun {
    shadow::EffectResult result;
    std::int64_t next_at_ms = 0;
  };
  [[nodiscard]] Status take(Step& step, const shadow::Transition& transition,
                            const shadow::Evidence& evidence, const std::string& idempotency_key);
  [[nodiscard]] Status order_wanted(Step& step, TrialSurroundings around,
                                    const shadow::Evidence& evidence);
  [[nodiscard]] Status order_one(Step& step, const shadow::EffectRequest& wanted,
                                 TrialSurroundings around);
  [[nodiscard]] Status order_call(Step& step, const shadow::EffectRequest& wanted, const char* kind,
                                  bool slow);
  [[nodiscard]] Status order_routing(Step& step, const shadow::EffectRequest& wanted,
                                     TrialSurroundings around);
  static shadow::LiveAb::Params live_params(const shadow::Plan& plan, const nlohmann::json& saved);
  void compare_live(const shadow::EffectRequest& wanted, const TrialSurroundings& around);
  [[nodiscard]] Status journal_units(Step& step);
  [[nodiscard]] Status journal_series(Step& step, const shadow::Evidence& evidence);
  [[nodiscard]] Status put_document(Step& step) const;
  [[nodiscard]] Status save_live(Transaction& tx, const std::string& target);
  [[nodiscard]] Status load_live(StateQueries& state, const std::string& target,
                                 const std::string& prefix, const nlohmann::json& params,
                                 std::optional<shadow::LiveAb>& comparison);

  const config::TargetSettings* settings_;
  std::optional<shadow::Trial> trial_;
  std::map<std::string, EffectRun> effects_;
  std::set<std::string> in_flight_;  // not saved: after a restart all are ordered again
  std::optional<shadow::PreflightVerdict> preflight_;
  std::unique_ptr<PairScoring> scoring_;
  std::optional<shadow::LiveAb> ab_, bake_;
  nlohmann::json ab_params_, bake_params_;  // what they were made with
  std::int64_t next_series_ms_ = 0;
  std::string last_series_;
  bool doubt_ = false;  // routing names the champion only, see serving_state.h
  std::uint64_t doubts_ = 0;
  bool live_dirty_ = false;
  std::int64_t watermark_ms_ = 0;
  std::string saved_;
};

// The candidate's share of the units now.
[[nodiscard]] double candidate_share(const shadow::Trial& trial);

}  // namespace trimtab::daemon
