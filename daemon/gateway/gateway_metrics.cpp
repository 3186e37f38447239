#include "daemon/gateway/gateway_metrics.h"

namespace trimtab::gateway {
namespace {

const std::vector<double> kRequestSeconds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                             2.5,  5,     10,   30,  60,   120, 300};
const std::vector<double> kOverheadSeconds = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1};

}  // namespace

GatewayMetrics::GatewayMetrics(Metrics& m)
    : requests(m.counter("trimtab_gateway_requests_total", "Requests for an alias, by answer.",
                         {"target", "code"})),
      duration(m.histogram("trimtab_gateway_request_duration_seconds",
                           "From a request's arrival to its answer's end.", kRequestSeconds,
                           {"target"})),
      first_token(m.histogram("trimtab_gateway_first_token_seconds",
                              "Streams: until the first token.", kRequestSeconds, {"target"})),
      overhead(m.histogram("trimtab_gateway_overhead_seconds",
                           "Answers not streamed: time beyond the upstream's own.",
                           kOverheadSeconds, {"target"})),
      arm_requests(m.counter("trimtab_gateway_arm_requests_total", "Requests assigned to each arm.",
                             {"target", "arm"})),
      fallbacks(m.counter("trimtab_gateway_fallbacks_total",
                          "Requests answered by another adapter than their arm's.",
                          {"target", "reason"})),
      unattested(m.counter("trimtab_gateway_unattested_total",
                           "Answers that did not name the adapter that was asked for.",
                           {"target"})),
      aborted(m.counter("trimtab_gateway_aborted_total",
                        "Answers that broke off, by the side that went away.", {"target", "side"})),
      upstream_failures(m.counter("trimtab_gateway_upstream_failures_total",
                                  "Calls to a model server that failed.", {"upstream", "reason"})),
      upstream_healthy(m.gauge("trimtab_gateway_upstream_healthy",
                               "1 while a model server answers its health check.", {"upstream"})),
      generation(m.gauge("trimtab_gateway_routing_generation",
                         "Generation of the routing document in use; 0 while there is none.",
                         {"target"})),
      routing_errors(m.counter("trimtab_gateway_routing_errors_total",
                               "Routing documents not read or not accepted.",
                               {"target", "reason"})),
      records(m.counter("trimtab_gateway_records_total", "Records for Kafka.", {"result"})),
      mirrored(m.counter("trimtab_gateway_mirrored_total",
                         "Copies of champion requests for the candidate.", {"target", "result"})),
      in_flight(m.gauge("trimtab_gateway_in_flight_requests", "Requests being answered.")),
      reload_successful(m.gauge("trimtab_config_last_reload_successful",
                                "1 while the configuration in use is the newest one.")) {}

}  // namespace trimtab::gateway
