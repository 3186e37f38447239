#include "daemon/daemon_metrics.h"

#include "shadow/pools.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

// A counter that was never moved is 0, not absent: rate() and alerts can rely on it.
void start_at_zero(Metrics& metrics, const std::string& target) {
  auto& alarms = metrics.counter("trimtab_drift_alarms_total", "Drift and harm alarms raised",
                                 {"target", "kind"});
  for (const char* kind : {"drift", "harm"}) alarms.with({target, kind});
  auto& jobs =
      metrics.counter("trimtab_retrains_total", "Training jobs that ended", {"target", "outcome"});
  for (const char* outcome : {"ok", "failed", "cancelled"}) jobs.with({target, outcome});
  metrics.counter("trimtab_train_tokens_total", "Tokens trained on", {"target"}).with({target});
  auto& pairs = metrics.counter("trimtab_shadow_pairs_total", "Pairs scored in the shadow",
                                {"target", "stratum"});
  for (const auto stratum : {shadow::Stratum::kNew, shadow::Stratum::kOld}) {
    pairs.with({target, std::string(shadow::stratum_name(stratum))});
  }
  auto& arms = metrics.counter("trimtab_ab_arm_requests_total",
                               "Attested records while a trial is open, by arm", {"target", "arm"});
  for (const auto arm :
       {shadow::kArmChampion, shadow::kArmControl, shadow::kArmCandidate, shadow::kArmHoldback}) {
    arms.with({target, std::string(arm)});
  }
  auto& ends = metrics.counter("trimtab_promotions_total", "Trials that ended, by their end",
                               {"target", "outcome"});
  for (int i = 0; i < shadow::kStateCount; ++i) {
    const auto state = static_cast<shadow::State>(i);
    if (shadow::is_end(state)) ends.with({target, std::string(shadow::state_name(state))});
  }
  auto& back =
      metrics.counter("trimtab_rollbacks_total", "Rollbacks, by reason", {"target", "reason"});
  for (const auto reason : {shadow::Reason::kLiveHarm, shadow::Reason::kSloBreach,
                            shadow::Reason::kBakeHarm, shadow::Reason::kOperatorRollback}) {
    back.with({target, std::string(shadow::reason_name(reason))});
  }
  back.with({target, "undo"});
  auto& records = metrics.counter("trimtab_records_total", "Records, by what became of them",
                                  {"target", "result"});
  for (const char* result : {"accepted", "duplicate", "probe"}) records.with({target, result});
}

}  // namespace

void add_daemon_metrics(Metrics& metrics, const std::vector<std::string>& targets,
                        BatchQueue& batches, Ingest& ingest, const ControlLoop& loop) {
  for (const auto& target : targets) start_at_zero(metrics, target);
  auto& depth = metrics.gauge("trimtab_queue_depth", "Items that wait in a queue", {"queue"});
  auto& capacity = metrics.gauge("trimtab_queue_capacity", "Items a queue can hold", {"queue"});
  auto& lag = metrics.gauge("trimtab_kafka_lag_records", "Records behind the end of the log",
                            {"topic", "partition"});
  auto& turns = metrics.gauge("trimtab_control_turns", "Turns of the control loop since start");
  metrics
      .gauge("trimtab_config_last_reload_successful",
             "1 when the last reload of the configuration was taken")
      .with()
      .set(1);
  metrics.before_expose([&batches, &ingest, &loop, &depth, &capacity, &lag, &turns] {
    depth.with({"batches"}).set(static_cast<double>(batches.size()));
    capacity.with({"batches"}).set(static_cast<double>(batches.capacity()));
    for (const auto& [where, behind] : ingest.status().lag) {
      lag.with({where.topic, std::to_string(where.partition)}).set(static_cast<double>(behind));
    }
    turns.with().set(static_cast<double>(loop.turns()));
  });
}

}  // namespace trimtab::daemon
