#include "config/tables.h"

namespace trimtab::config {

Table<ServingSettings> serving_table() {
  using S = ServingSettings;
  Table<ServingEndpoint> endpoint;
  endpoint.text("url", &ServingEndpoint::url, "http://host:port").required().check(check_http_url);
  endpoint.text("name", &ServingEndpoint::name, "in metrics and messages; default: host:port");
  Table<PathMap> path_map;
  path_map.text("from", &PathMap::from, "prefix of trimtab's path").required();
  path_map.text("to", &PathMap::to, "what the server calls it").required();

  Table<S> t;
  t.choice("driver", &S::driver, {"vllm", "file", "webhook"}, "how the fleet is driven");
  t.sections("endpoints", &S::endpoints, endpoint, "every server of the fleet (driver vllm)");
  t.text("served_base_name", &S::served_base_name,
         "upstream model name of the bare base; default: the base's path");
  t.sections("path_map", &S::path_map, path_map, "trimtab's paths -> the servers' paths");
  t.path("token_file", &S::token_file, "bearer token for endpoints and webhook");
  t.text("webhook_url", &S::webhook_url, "where routing documents are posted (driver webhook)")
      .check(check_http_url);
  t.path("webhook_secret_file", &S::webhook_secret_file, "key of the HMAC-SHA256 signature");
  t.integer("max_loras", &S::max_loras, 1, 1'000, "adapter slots of each server");
  t.integer("max_lora_rank", &S::max_lora_rank, 1, 1'024, "largest r the servers take");
  t.integer("keep_loaded", &S::keep_loaded, 2, 100, "adapters kept loaded");
  t.duration("connect_timeout", &S::connect_timeout_ms, 10, 600'000, "TCP connection");
  t.duration("load_timeout", &S::load_timeout_ms, 100, 3'600'000, "one load or unload call");
  t.duration("request_timeout", &S::request_timeout_ms, 100, 3'600'000, "any other call");
  t.duration("retry_backoff", &S::retry_backoff_ms, 10, 600'000, "first pause, then doubled");
  t.duration("router_lease", &S::router_lease_ms, 1'000, kDayInMs,
             "a router without acknowledgement or records drops out");
  t.duration("routing_expiry", &S::routing_expiry_ms, 1'000, kYearInMs,
             "after it a router serves the champion only; renewed at half of it");
  return t;
}

}  // namespace trimtab::config
