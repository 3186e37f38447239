// Gauges that are read rather than pushed, refreshed at each exposition: queues, lag, ages. The
// table of all metrics with type, unit and labels is docs/METRICS.md.
#pragma once

#include <string>
#include <vector>

#include "base/metrics.h"
#include "daemon/control_loop.h"
#include "daemon/ingest.h"

namespace trimtab::daemon {

// All references outlive the exposition. Counters of every target begin at 0.
void add_daemon_metrics(Metrics& metrics, const std::vector<std::string>& targets,
                        BatchQueue& batches, Ingest& ingest, const ControlLoop& loop);

}  // namespace trimtab::daemon
