// The gateway's metrics (docs/METRICS.md). Labels are bounded by the configuration.
#pragma once

#include "base/metrics.h"

namespace trimtab::gateway {

struct GatewayMetrics {
  explicit GatewayMetrics(Metrics& m);

  Family<Counter>& requests;           // target, code
  Family<Histogram>& duration;         // target
  Family<Histogram>& first_token;      // target; streams
  Family<Histogram>& overhead;         // target; the gateway's own share of a request
  Family<Counter>& arm_requests;       // target, arm
  Family<Counter>& fallbacks;          // target, reason
  Family<Counter>& unattested;         // target
  Family<Counter>& aborted;            // target, side
  Family<Counter>& upstream_failures;  // upstream, reason
  Family<Gauge>& upstream_healthy;     // upstream
  Family<Gauge>& generation;           // target
  Family<Counter>& routing_errors;     // target, reason
  Family<Counter>& records;            // result
  Family<Counter>& mirrored;           // target, result
  Family<Gauge>& in_flight;
  Family<Gauge>& reload_successful;
};

}  // namespace trimtab::gateway
