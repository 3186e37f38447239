// When a job starts, and what its end means for the alarms it answers.
#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "base/log.h"
#include "daemon/policy_journal.h"
#include "daemon/target.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPolicyMs = 1'000;
constexpr std::int64_t kLookMs = 30'000;  // between two looks for bursts that no job asks for
constexpr std::int64_t kDayMs = 86'400'000;

// May counting anew change the answer? Not before as many new labels have come as are missing, for
// a label is at most one example. While a burst is held back its size is kept up to date.
bool may_matter(std::int64_t labels, std::int64_t counted_labels, std::int64_t counted_examples,
                std::int64_t minimum, bool burst) {
  if (counted_labels < 0) return true;
  const std::int64_t missing =
      burst ? counted_labels / retrain::kRecountShare
            : std::max(minimum - counted_examples, counted_examples / retrain::kRecountShare);
  return labels >= counted_labels + std::max<std::int64_t>(missing, 1);
}

}  // namespace

// A drift alarm knows best since when the world is different: the newest one, for drift on several
// signals is latched into one alarm, so several open ones are several events, and an unconfirmed
// older one must not drag its data into the next job. A harm alarm without one says since when it
// hurts; a job by hand takes what came since the last re-reference.
std::int64_t Target::job_onset_ms() const {
  if (alarms_.empty()) return rereferenced_ms_;
  std::int64_t drift_ms = 0;
  std::int64_t harm_ms = 0;
  for (const auto& alarm : alarms_) (alarm.kind == "drift" ? drift_ms : harm_ms) = alarm.onset_ms;
  return drift_ms > 0 ? drift_ms : harm_ms;
}

retrain::PolicyInputs Target::policy_inputs(const Step& step) const {
  retrain::PolicyInputs inputs;
  inputs.now_ms = step.now_ms;
  const bool harmed = monitor_.harm_latched() || monitor_.accuracy_declined() ||
                      std::any_of(alarms_.begin(), alarms_.end(),
                                  [](const OpenAlarm& alarm) { return alarm.kind == "harm"; });
  for (const auto& alarm : alarms_) {
    inputs.alarms.push_back({.id = alarm.id,
                             .harm = alarm.kind == "harm",
                             .confirmed = harmed,
                             .at_ms = alarm.at_ms,
                             .tries = alarm.tries,
                             .examples_at_last_try = alarm.examples_at_last_try});
  }
  inputs.manual = manual_;
  inputs.examples = counted_examples_;
  inputs.quarantined = quarantined_;
  inputs.new_examples = counted_examples_;
  inputs.last_job_start_ms = last_job_start_ms_;
  inputs.armed_since_ms = armed_since_ms_;
  inputs.last_end_ms = last_end_ms_;
  inputs.automatic_starts_ms = automatic_starts_ms_;
  // An operator's own request is not held back by the pause that an undo puts on automatic jobs.
  inputs.paused = !manual_ && (automatic_paused_ || history_.jobs_paused());
  inputs.pause_reason = automatic_paused_ ? "operator" : "undo";
  inputs.disk_low = step.disk_low;
  if (job_.open() || job_waits_for_trial_) inputs.running_job = job_.job()->id;
  // An operator may ask for a newer candidate while the present one is still in the shadow.
  const bool beside = manual_ && may_supersede();
  if (trial_.open() && !beside) inputs.running_trial = trial_.trial()->id;
  return inputs;
}

// What is held back is told whether or not a job may come of it: a flood of corrections is news of
// its own, and somebody has to release it or not.
Status Target::look_for_bursts(Step& step) {
  if (step.now_ms < next_look_ms_ || !burst_hint_.due(settings_.retrain.data)) return {};
  next_look_ms_ = step.now_ms + kLookMs;
  TRIMTAB_TRY(auto held, find_held_back(settings_, step, job_onset_ms(), released_bursts_));
  quarantined_ = held.corrections;
  bursts_ = std::move(held.bursts);
  burst_hint_.looked(quarantined_);
  return {};
}

Status Target::advance_jobs(Step& step) {
  if (job_.take_ended()) TRIMTAB_CHECK_OK(job_ended(step));
  if (job_waits_for_trial_ && !trial_.open() && !undo_) TRIMTAB_CHECK_OK(job_ended(step));
  if (step.now_ms < next_policy_ms_) return {};
  next_policy_ms_ = step.now_ms + kPolicyMs;
  TRIMTAB_CHECK_OK(consider_job(step));
  return look_for_bursts(step);
}

Status Target::consider_job(Step& step) {
  const bool trial_holds = trial_.open() && !(manual_ && may_supersede());
  if (job_.open() || trial_holds || job_waits_for_trial_ || undo_) {
    waits_for_.clear();
    return {};
  }
  // How many examples a job would have is read from the store only where that may change the
  // answer: the number of labels when volume may ask, the texts when somebody asks.
  const auto& retrain = settings_.retrain;
  const bool asked = manual_ || !alarms_.empty();
  const bool by_volume = std::find(retrain.triggers.begin(), retrain.triggers.end(),
                                   config::Trigger::kVolume) != retrain.triggers.end();
  LabelQuery query;
  query.target = settings_.name;
  query.since_ms = job_onset_ms();
  query.eval = false;
  query.narrow = true;
  std::int64_t labels = 0;
  if (asked || by_volume) {
    TRIMTAB_TRY(labels, step.store.count_labels(query));
  }
  std::optional<TrainingMaterial> material;
  if (!asked) {
    counted_examples_ = labels;
    counted_labels_ = -1;
  } else if (labels >= retrain.minimum_examples &&
             may_matter(labels, counted_labels_, counted_examples_, retrain.minimum_examples,
                        !bursts_.empty())) {
    TRIMTAB_TRY(material, gather_material(settings_, step, job_onset_ms(), released_bursts_));
    counted_examples_ = retrain::count_trainable(material->inputs, retrain.data);
    quarantined_ = material->quarantined;
    bursts_ = material->inputs.bursts;
    burst_hint_.looked(quarantined_);
    counted_labels_ = labels;
  } else if (counted_labels_ < 0) {
    counted_examples_ = labels;  // at most; curation counts once they could be enough
  }
  const auto inputs = policy_inputs(step);
  auto decision = retrain::decide(inputs, settings_.retrain);
  waits_for_ = asked && !decision.start ? decision.message : "";
  if (!decision.start) return {};
  if (!material) {
    TRIMTAB_TRY(material, gather_material(settings_, step, job_onset_ms(), released_bursts_));
  }
  const std::string row = dump_json(policy_row(inputs, settings_.retrain, decision));
  TRIMTAB_CHECK_OK(start_job(step, decision, *material));
  if (!job_.open()) return {};  // no_data: it waits on
  TRIMTAB_TRY(const auto seq, step.tx.append_decision(job_.job()->id, "policy", row));
  (void)seq;
  return {};
}

Status Target::start_job(Step& step, const retrain::Decision& decision,
                         const TrainingMaterial& material) {
  const std::string actor = manual_ ? manual_->actor : "trimtab";
  const auto started =
      job_.start(step, decision, material, job_onset_ms(), step.join.watermark_ms(settings_.name),
                 history_.champion(), actor);
  if (!started && started.error().code == Code::kInvalid) {
    waits_for_ = started.error().message;  // no_data: more labels will come
    counted_labels_ = -1;
    return {};
  }
  TRIMTAB_CHECK_OK(started);
  manual_.reset();
  last_job_start_ms_ = step.now_ms;
  if (job_.job()->automatic) automatic_starts_ms_.push_back(step.now_ms);
  std::erase_if(automatic_starts_ms_,
                [&](std::int64_t at_ms) { return step.now_ms - at_ms > kDayMs; });
  answered_ = !alarms_.empty();
  for (const auto& alarm : alarms_) {
    TRIMTAB_CHECK_OK(set_alarm_state(step, alarm.id, "answered"));
  }
  waits_for_.clear();
  counted_labels_ = -1;
  return {};
}

Status Target::answer_failed(Step& step, std::int64_t examples) {
  last_end_ms_ = step.now_ms;
  answered_ = false;
  for (auto& alarm : alarms_) {
    ++alarm.tries;
    alarm.examples_at_last_try = examples;
    TRIMTAB_CHECK_OK(set_alarm_state(step, alarm.id, "open"));
  }
  if (!queued_) return {};
  // What was queued is newer than what could not be answered.
  return close_alarms(step, "superseded");
}

Status Target::job_ended(Step& step) {
  const auto& job = *job_.job();
  const bool beside = trial_.open() && trial_.trial()->origin != shadow::Origin::kManual;
  if (beside && job.state != "ok") return {};  // the alarms are the open trial's to answer
  if (job.state == "cancelled") {
    last_end_ms_ = step.now_ms;
    job_waits_for_trial_ = false;
    return close_alarms(step, "closed");
  }
  if (job.state != "ok") return answer_failed(step, job.examples);
  if ((trial_.open() && !may_supersede()) || undo_) {
    job_waits_for_trial_ = true;
    return {};
  }
  job_waits_for_trial_ = false;
  const auto adapter = job_.adopt_adapter(step);
  if (adapter && trial_.open()) {
    TRIMTAB_TRY(const bool made_way, supersede_trial(step, adapter->name));
    if (!made_way) {
      job_waits_for_trial_ = true;
      return {};
    }
  }
  if (!adapter) {
    TRIMTAB_CHECK_OK(job_.set_trial(step, "", adapter.error().message));
    return answer_failed(step, job.examples);
  }
  shadow::NewTrial wanted;
  wanted.candidate = *adapter;
  wanted.origin = job.alarm.empty() ? shadow::Origin::kJob : shadow::Origin::kDrift;
  wanted.alarm_id = job.alarm;
  wanted.job_id = job.id;
  wanted.actor = job.actor;
  wanted.data_size = static_cast<std::uint64_t>(job.examples);
  wanted.onset_ms = job.onset_ms;
  wanted.plan = settings_.promotion.plan;
  const auto frozen = std::find_if(alarms_.begin(), alarms_.end(),
                                   [&](const OpenAlarm& alarm) { return alarm.id == job.alarm; });
  const std::int64_t frozen_ms = frozen == alarms_.end() ? job.created_ms : frozen->at_ms;
  answered_ = !alarms_.empty();  // also when a trial beside it had given them back
  const auto trial = start_trial(step, std::move(wanted), frozen_ms);
  if (!trial) {
    log::warn("{}: no trial: {}", job.id, trial.error().message);
    TRIMTAB_CHECK_OK(job_.set_trial(step, "", "no trial: " + trial.error().message));
    return answer_failed(step, job.examples);
  }
  return job_.set_trial(step, *trial, "");
}

}  // namespace trimtab::daemon
