#include "daemon/retrain_replay.h"

#include <algorithm>

namespace trimtab::daemon {

void RetrainReplay::on_alarm(const drift::Alarm& alarm, std::int64_t now_ms) {
  const Open open{alarm.seq, alarm.kind == drift::AlarmKind::kHarm, now_ms, alarm.onset_ts_ms};
  // As the target does: what began after the data of the job under way is another event.
  if (job_started_ms_ > 0 && open.onset_ms > job_started_ms_) {
    queued_ = open;
  } else {
    open_.push_back(open);
  }
}

std::int64_t RetrainReplay::onset_ms() const {
  if (open_.empty()) return rereferenced_ms_;
  std::int64_t drift_ms = 0;
  std::int64_t harm_ms = 0;
  for (const Open& alarm : open_) (alarm.harm ? harm_ms : drift_ms) = alarm.onset_ms;
  return drift_ms > 0 ? drift_ms : harm_ms;
}

retrain::PolicyInputs RetrainReplay::inputs(std::int64_t now_ms, bool harmed_now) const {
  retrain::PolicyInputs inputs;
  inputs.now_ms = now_ms;
  const bool harmed = harmed_now || std::any_of(open_.begin(), open_.end(),
                                                [](const Open& alarm) { return alarm.harm; });
  for (const Open& alarm : open_) {
    inputs.alarms.push_back({.id = "al-" + std::to_string(alarm.seq),
                             .harm = alarm.harm,
                             .confirmed = harmed,
                             .at_ms = alarm.at_ms});
  }
  inputs.examples = examples_;
  inputs.new_examples = examples_;
  inputs.last_job_start_ms = last_job_start_ms_;
  inputs.armed_since_ms = armed_since_ms_;
  inputs.last_end_ms = last_end_ms_;
  inputs.automatic_starts_ms = starts_ms_;
  return inputs;
}

void RetrainReplay::end_job(std::int64_t now_ms) {
  job_started_ms_ = 0;
  last_end_ms_ = now_ms;
  open_.clear();
  if (queued_) open_.push_back(*queued_);
  queued_.reset();
}

RetrainReplay::Turn RetrainReplay::advance(const std::vector<std::int64_t>& label_ms,
                                           std::int64_t now_ms, bool armed, bool harmed) {
  Turn turn;
  if (armed && armed_since_ms_ == 0) armed_since_ms_ = now_ms;
  if (job_started_ms_ > 0 && now_ms - job_started_ms_ >= job_ms_) {
    end_job(now_ms);
    turn.job_ended = true;
  }
  if (job_started_ms_ > 0) return turn;
  examples_ = label_ms.end() - std::lower_bound(label_ms.begin(), label_ms.end(), onset_ms());
  const auto decision = retrain::decide(inputs(now_ms, harmed), settings_.retrain);
  if (!decision.start) return turn;
  drift::Retraining launched;
  launched.ts_ms = now_ms;
  launched.trigger = decision.reason;
  if (decision.alarm_id.starts_with("al-")) {
    launched.alarm = std::stoull(decision.alarm_id.substr(3));
  }
  launched.examples = examples_;
  launched.message = decision.message;
  turn.launched = std::move(launched);
  job_started_ms_ = now_ms;
  last_job_start_ms_ = now_ms;
  starts_ms_.push_back(now_ms);
  return turn;
}

void RetrainReplay::rereferenced(std::int64_t now_ms) {
  rereferenced_ms_ = now_ms;
  armed_since_ms_ = 0;
}

}  // namespace trimtab::daemon
