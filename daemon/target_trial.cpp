// A trial's beginning and end, as the target sees them.
#include <algorithm>

#include "base/json.h"
#include "base/log.h"
#include "daemon/target.h"

namespace trimtab::daemon {

TrialSurroundings Target::surroundings(const Step& step) {
  return {.serving = serving_,
          .history = history_,
          .champion = champion_numbers_,
          .watermark_ms = step.join.watermark_ms(settings_.name),
          .label_wait_ms = label_wait_ms(step)};
}

std::int64_t Target::label_wait_ms(const Step& step) const {
  const auto& plan = settings_.promotion.plan;
  if (plan.label_wait_ms > 0) return plan.label_wait_ms;
  return step.join.label_delay_p95_ms(settings_.name).value_or(plan.label_wait_default_ms);
}

std::string Target::primary_metric() const {
  switch (settings_.promotion.plan.live_metric) {
    case config::LiveMetric::kComplaint: return "complaint";
    case config::LiveMetric::kAccuracy: return "accuracy";
    case config::LiveMetric::kAuto: break;
  }
  for (const auto& alarm : alarms_) {
    if (alarm.kind == "harm" && alarm.signal == "label_loss") return "accuracy";
  }
  return "complaint";
}

Result<std::string> Target::start_trial(Step& step, shadow::NewTrial wanted,
                                        std::int64_t frozen_ms) {
  if (trial_.open()) {
    return fail(Code::kConflict, trial_.trial()->id + " is open; wait for its end or abort it");
  }
  TRIMTAB_CHECK_OK(history_.may_start(wanted.origin, wanted.alarm_id, wanted.candidate.sha256,
                                      wanted.data_size, settings_.promotion, step.now_ms));
  TRIMTAB_TRY(const std::int64_t number, step.tx.next_number("trial"));
  wanted.id = "trial-" + std::to_string(number);
  wanted.target = settings_.name;
  wanted.champion = history_.champion();
  wanted.primary_metric = primary_metric();
  // W is part of the experiment's hash: fixed now.
  if (wanted.plan.label_wait_ms == 0) wanted.plan.label_wait_ms = label_wait_ms(step);
  TRIMTAB_TRY(auto trial, shadow::make_trial(wanted, step.now_ms));
  TRIMTAB_TRY(auto scoring, PairScoring::freeze(step, settings_, trial.plan, trial.id,
                                                wanted.onset_ms, frozen_ms));
  TRIMTAB_CHECK_OK(trial_.start(step, trial, std::move(scoring)));
  // Its first effects are ordered in the same step: a crash right behind it changes nothing.
  TRIMTAB_CHECK_OK(trial_.resume(step, surroundings(step)));
  return wanted.id;
}

Status Target::advance_trial(Step& step) {
  TRIMTAB_TRY(const bool ended, trial_.advance(step, surroundings(step)));
  if (ended) return trial_ended(step);
  return {};
}

Status Target::trial_ended(Step& step) {
  const auto& trial = *trial_.trial();
  const bool tries_used_up = history_.on_end(trial, settings_.promotion, step.now_ms);
  last_end_ms_ = step.now_ms;
  const std::string end(shadow::state_name(trial.state));
  const std::string reason(shadow::reason_name(trial.end_reason));
  step.metrics
      .counter("trimtab_promotions_total", "Trials that ended, by their end", {"target", "outcome"})
      .with({settings_.name, end})
      .add();
  if (trial.state == shadow::State::kRolledBack ||
      trial.end_reason == shadow::Reason::kOperatorRollback) {
    step.metrics.counter("trimtab_rollbacks_total", "Rollbacks, by reason", {"target", "reason"})
        .with({settings_.name, reason})
        .add();
  }
  if (tries_used_up) {
    log::error("{}: {} tries are used up for this drift; look at `trimtab explain {}`",
               settings_.name, settings_.promotion.max_tries, trial.id);
  }
  next_reconcile_ms_ = 0;
  next_policy_ms_ = 0;
  if (trial.state == shadow::State::kPromoted) {
    TRIMTAB_CHECK_OK(rereference(step, "promoted " + trial.candidate.name));
    return close_alarms(step, "closed");
  }
  if (trial.origin == shadow::Origin::kManual) return {};
  const bool again =
      trial.state == shadow::State::kRejected || trial.state == shadow::State::kInconclusive;
  if (again) return answer_failed(step, static_cast<std::int64_t>(trial.data_size));
  return close_alarms(step, "closed");
}

void Target::forget(const std::set<std::string>& record_ids,
                    const std::set<std::uint64_t>& units) {
  for (const std::uint64_t unit : units) unit_history_.forget(unit);
  trial_.forget(record_ids);
  if (reverse_scoring_) reverse_scoring_->forget(record_ids);
}

Result<bool> Target::supersede_trial(Step& step, const std::string& newer) {
  TRIMTAB_CHECK_OK(trial_.supersede(step, newer, surroundings(step)));
  if (trial_.open()) return false;
  if (trial_.trial()->state != shadow::State::kSuperseded) {
    TRIMTAB_CHECK_OK(trial_ended(step));  // something that outranks it, such as harm
    return true;
  }
  // The alarms stay answered: by the newer candidate.
  (void)history_.on_end(*trial_.trial(), settings_.promotion, step.now_ms);
  step.metrics
      .counter("trimtab_promotions_total", "Trials that ended, by their end", {"target", "outcome"})
      .with({settings_.name, "SUPERSEDED"})
      .add();
  next_reconcile_ms_ = 0;
  return true;
}

Status Target::rereference(Step& step, const std::string& reason) {
  monitor_.rereference(reason);
  rereferenced_ms_ = step.join.watermark_ms(settings_.name);
  if (rereferenced_ms_ <= 0) rereferenced_ms_ = step.now_ms;
  armed_since_ms_ = 0;
  counted_labels_ = -1;
  next_holdout_ms_ = 0;
  TRIMTAB_TRY(const auto seq, step.journal({.target = settings_.name,
                                            .kind = "rereference",
                                            .subject = settings_.name,
                                            .reason = "rereference",
                                            .message = "references are taken anew: " + reason}));
  (void)seq;
  return {};
}

}  // namespace trimtab::daemon
