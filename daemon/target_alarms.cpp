// Alarms: what the monitor says, kept with its evidence, and which of them still asks for a job.
//
// One event of the world may raise several alarms (drift on many signals is latched into one, harm
// comes beside it). Alarms that are open at the same time are answered by one job. An alarm whose
// onset lies after the data of the job under way is another event: it is queued, the newest wins.
#include <algorithm>

#include "base/json.h"
#include "base/log.h"
#include "daemon/target.h"
#include "drift/derivation.h"
#include "drift/report.h"

namespace trimtab::daemon {

Status Target::raise(Step& step, const drift::Alarm& alarm) {
  TRIMTAB_TRY(const std::int64_t number, step.tx.next_number("alarm"));
  OpenAlarm open;
  open.id = "al-" + std::to_string(number);
  open.kind = drift::alarm_kind_name(alarm.kind);
  open.signal = alarm.signal;
  open.ts_ms = alarm.ts_ms;
  open.at_ms = step.now_ms;
  open.onset_ms = alarm.onset_ts_ms;
  const bool busy = answered_ && (job_.open() || trial_.open() || job_waits_for_trial_);
  const bool another = busy && job_.job() && open.onset_ms > job_.job()->event_ms;
  const char* state = another ? "queued" : busy ? "answered" : "open";
  Json data = drift::to_json(alarm);
  data["id"] = open.id;
  data["target"] = settings_.name;
  data["state"] = state;
  TRIMTAB_CHECK_OK(step.tx.put({.kind = "alarm",
                                .id = open.id,
                                .target = settings_.name,
                                .state = state,
                                .data = dump_json(data),
                                .created_ms = step.now_ms,
                                .updated_ms = step.now_ms}));
  TRIMTAB_TRY(const auto seq, step.journal({.target = settings_.name,
                                            .kind = "alarm",
                                            .subject = open.id,
                                            .to = state,
                                            .evidence = dump_json(data),
                                            .reason = open.kind,
                                            .message = alarm.summary}));
  (void)seq;
  // What the evidence was made of, for `trimtab explain`.
  TRIMTAB_TRY(const auto trail,
              step.tx.append_decision(open.id, "trail", drift::trail_text(alarm.trail)));
  (void)trail;
  log::warn("{} {} {}: {}", settings_.name, open.id, open.kind, alarm.summary);
  step.metrics
      .counter("trimtab_drift_alarms_total", "Drift and harm alarms raised", {"target", "kind"})
      .with({settings_.name, open.kind})
      .add();
  if (another) {
    if (queued_) TRIMTAB_CHECK_OK(set_alarm_state(step, queued_->id, "superseded"));
    queued_ = open;
  } else {
    alarms_.push_back(open);
    counted_labels_ = -1;  // since another onset
  }
  next_policy_ms_ = 0;
  if (open.kind == "harm") return consider_reverse(step, open);
  return {};
}

Status Target::set_alarm_state(Step& step, const std::string& id, const std::string& state) {
  TRIMTAB_TRY(auto document, step.store.document("alarm", id));
  TRIMTAB_TRY(Json data, parse_json(document.data));
  data["state"] = state;
  document.state = state;
  document.data = dump_json(data);
  document.updated_ms = step.now_ms;
  return step.tx.put(document);
}

Status Target::close_alarms(Step& step, const std::string& state) {
  for (const auto& alarm : alarms_) TRIMTAB_CHECK_OK(set_alarm_state(step, alarm.id, state));
  alarms_.clear();
  answered_ = false;
  if (queued_) {
    TRIMTAB_CHECK_OK(set_alarm_state(step, queued_->id, "open"));
    alarms_.push_back(*queued_);
    queued_.reset();
  }
  counted_labels_ = -1;
  next_policy_ms_ = 0;
  return {};
}

// Harm that was over before anybody answered it needs no training: a burst of complaints, an outage
// upstream. While a job or a trial answers it, its end decides.
Status Target::close_recovered(Step& step) {
  if (answered_) return {};
  for (auto alarm = alarms_.begin(); alarm != alarms_.end();) {
    if (alarm->kind != "harm" || monitor_.harm_latched(alarm->signal)) {
      ++alarm;
      continue;
    }
    TRIMTAB_CHECK_OK(set_alarm_state(step, alarm->id, "recovered"));
    TRIMTAB_TRY(const auto seq,
                step.journal({.target = settings_.name,
                              .kind = "alarm",
                              .subject = alarm->id,
                              .from = "open",
                              .to = "recovered",
                              .reason = "recovered",
                              .message = alarm->signal + " is back below its tolerance"}));
    (void)seq;
    log::info("{} {}: {} has recovered", settings_.name, alarm->id, alarm->signal);
    alarm = alarms_.erase(alarm);
    next_policy_ms_ = 0;
    counted_labels_ = -1;
  }
  return {};
}

void Target::outcome(Step& step, const char* metric, const std::string& record_id,
                     std::int64_t ts_ms, double value) {
  const auto index = monitor_.harm_metric(metric);
  if (!index) return;
  drift::Outcome& event = watched_.emplace_back().outcome;
  watched_order_.push_back(step.monitor_inputs++);
  event.ts_ms = ts_ms;
  event.offset = records_;
  event.metric = *index;
  event.value = value;
  event.id.assign(record_id);
}

std::vector<std::pair<std::uint64_t, drift::Alarm>> Target::watch() {
  raised_.clear();
  monitor_.take(watched_, raised_);
  std::vector<std::pair<std::uint64_t, drift::Alarm>> all;
  for (auto& one : raised_) all.emplace_back(watched_order_[one.input], std::move(one.alarm));
  watched_.clear();
  watched_order_.clear();
  return all;
}

Status Target::feed_outcomes(Step& step) {
  if (!monitor_.harm_metric("complaint")) return {};
  // Who answers for whom: while a candidate is compared, its units say nothing about the champion.
  const auto counts = [](const RecordRow& record) {
    return record.arm != shadow::kArmCandidate && record.arm != shadow::kArmHoldback;
  };
  const auto take = [&](const UnitOutcome& unit) -> Status {
    outcome(step, "complaint", unit.record_id, unit.ts_ms, unit.complained ? 1.0 : 0.0);
    return {};
  };
  const std::int64_t watermark_ms = step.join.watermark_ms(settings_.name);
  const Status closed = outcomes_.close_until(step.store, settings_.name, watermark_ms,
                                              label_wait_ms(step), counts, take);
  TRIMTAB_CHECK_OK(closed);
  for (const auto& [order, alarm] : watch()) TRIMTAB_CHECK_OK(raise(step, alarm));
  return {};
}

}  // namespace trimtab::daemon
