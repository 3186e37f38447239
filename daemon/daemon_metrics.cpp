#include "daemon/daemon_metrics.h"

namespace trimtab::daemon {

void add_daemon_metrics(Metrics& metrics, BatchQueue& batches, Ingest& ingest,
                        const ControlLoop& loop, Clock& clock) {
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
  (void)clock;
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
