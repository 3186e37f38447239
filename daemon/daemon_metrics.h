// Gauges that are read rather than pushed, refreshed at each exposition: queues, lag, ages. The
// table of all metrics with type, unit and labels is docs/METRICS.md.
#pragma once

#include "base/clock.h"
#include "base/metrics.h"
#include "daemon/control_loop.h"
#include "daemon/ingest.h"

namespace trimtab::daemon {

// All references outlive the exposition.
void add_daemon_metrics(Metrics& metrics, BatchQueue& batches, Ingest& ingest,
                        const ControlLoop& loop, Clock& clock);

}  // namespace trimtab::daemon
