// Policy: shall a job start now? A pure function of what control knows, so that a replay and
// `trimtab explain` give the same answer. Every "no" has a reason and a message, too, and where
// time alone will change it, when.
//
// Order of the gates, first that closes wins:
//   paused, disk_low, job_running, trial_running          hold back every job
//   no_trigger                                            nothing asks for a job
//   trigger_disabled                                      it asks, but `triggers` does not list it
//   quarantine                                            nothing left beside quarantined
//   corrections not_enough_examples                                   below minimum_examples
//   (manual jobs start here: cooldown, budget, hours hold back automatic ones only)
//   tries_exhausted, waits_for_growth                     after REJECTED / INCONCLUSIVE
//   cooldown, budget, outside_hours
// Which trigger is named: manual, harm, drift_confirmed, drift, volume, schedule, in this order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/retrain_settings.h"

namespace trimtab::retrain {

// An alarm that no finished job has answered: still a reason to retrain.
struct AlarmInput {
  std::string id;
  bool harm = false;       // else drift
  bool confirmed = false;  // drift: by harm or by a label-free estimate
  std::int64_t at_ms = 0;
  // Candidates of this alarm that ended REJECTED or INCONCLUSIVE, and the examples of the last one.
  std::int64_t tries = 0;
  std::int64_t examples_at_last_try = 0;
};

struct ManualRequest {
  std::string actor;
  std::string reason;
};

struct PolicyInputs {
  std::int64_t now_ms = 0;
  std::vector<AlarmInput> alarms;  // oldest first
  std::optional<ManualRequest> manual;
  std::int64_t examples = 0;  // trainable now: no evaluation units, none quarantined
  std::int64_t quarantined = 0;
  std::int64_t new_examples = 0;       // since the last job's data
  std::int64_t last_job_start_ms = 0;  // 0 = never; `schedule` counts from armed_since then
  std::int64_t armed_since_ms = 0;
  std::int64_t last_end_ms = 0;                   // end of the last job or trial; 0 = never
  std::vector<std::int64_t> automatic_starts_ms;  // those of the last 24 h suffice
  bool paused = false;
  std::string pause_reason;
  bool disk_low = false;
  std::string running_job;  // id; empty = none
  std::string running_trial;
};

struct Decision {
  bool start = false;
  config::Trigger trigger = config::Trigger::kManual;  // valid when something asked
  std::string alarm_id;  // the alarm answered; empty for schedule, volume, manual without one
  std::string reason;    // start: the trigger's name; else the gate's, see above
  std::string message;   // one sentence for people, with the numbers
  std::int64_t retry_at_ms = 0;  // when time alone opens the gate; 0 = it takes something else
  bool alert = false;  // tries_exhausted, or an alarm waited longer than wait_for_examples
};

[[nodiscard]] Decision decide(const PolicyInputs& inputs, const config::RetrainSettings& settings);

[[nodiscard]] const char* trigger_name(config::Trigger trigger);
// Is `now_ms` (UTC) inside one of the "HH:MM-HH:MM" spans? Empty = always.
[[nodiscard]] bool inside_hours(const std::vector<std::string>& spans, std::int64_t now_ms);

}  // namespace trimtab::retrain
