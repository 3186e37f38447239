// RetrainReplay: which retrainings the target's policy would have launched, had the alarms of a
// replayed log come live. The decision is retrain::decide itself, fed as the daemon's target feeds
// it; what a log cannot tell is assumed and said: a job takes `job_ms` and ends well, its alarms
// are then answered, and every label outside the evaluation units is an example (curation may drop
// some). One target and one promise each; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/settings.h"
#include "drift/alarm.h"
#include "drift/backtest.h"
#include "retrain/policy.h"

namespace trimtab::daemon {

class RetrainReplay {
 public:
  RetrainReplay(const config::TargetSettings& settings, std::int64_t job_ms)
      : settings_(settings), job_ms_(job_ms) {}

  void on_alarm(const drift::Alarm& alarm, std::int64_t now_ms);
  struct Turn {
    bool job_ended = false;
    std::optional<drift::Retraining> launched;
  };
  // Event time has come to `now_ms`; `harmed`: harm is latched, or the label-free estimate has
  // declined. `label_ms`: event times of the records with a label that are
  // no evaluation units', ascending.
  [[nodiscard]] Turn advance(const std::vector<std::int64_t>& label_ms, std::int64_t now_ms,
                             bool armed, bool harmed);
  // References were taken anew at this event time: examples count from here.
  void rereferenced(std::int64_t now_ms);

 private:
  struct Open {
    std::uint64_t seq = 0;
    bool harm = false;
    std::int64_t at_ms = 0;
    std::int64_t onset_ms = 0;
  };
  void end_job(std::int64_t now_ms);
  [[nodiscard]] std::int64_t onset_ms() const;
  [[nodiscard]] retrain::PolicyInputs inputs(std::int64_t now_ms, bool harmed_now) const;

  const config::TargetSettings settings_;
  std::int64_t job_ms_;
  std::vector<Open> open_;
  std::optional<Open> queued_;
  std::int64_t job_started_ms_ = 0;  // 0: none runs
  std::int64_t last_job_start_ms_ = 0, last_end_ms_ = 0, armed_since_ms_ = 0;
  std::int64_t rereferenced_ms_ = 0, examples_ = 0;
  std::vector<std::int64_t> starts_ms_;
};

}  // namespace trimtab::daemon
