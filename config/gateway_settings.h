// Settings of trimtab-gateway, a file of its own: the gateway runs where the requests are, often
// far from the daemon. Plain values; the table is config/tables_gateway.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/daemon_settings.h"

namespace trimtab::config {

struct GatewayUpstream {
  std::string url;  // http://host:port, the model server
  std::int64_t weight = 1;
};

// One alias that clients ask for as "model".
struct GatewayTarget {
  std::string name;  // the alias = the daemon's target
  std::vector<GatewayUpstream> upstreams;
  std::string served_base_name;  // upstream model name of the bare base; default: name
  std::string token_file;        // bearer token for the upstreams, replaces the client's
};

enum class RoutingSource { kFile, kUrl };

struct GatewayRouting {
  RoutingSource source = RoutingSource::kUrl;
  std::string dir;  // file: <dir>/<target>.json, watched by its modification time
  std::string url = "http://127.0.0.1:8500";  // url: the daemon; long poll and acknowledgements
  std::string token_file;
  // url: the last document of each target, kept over a restart of the gateway. Empty: the folder
  // that systemd gives ($STATE_DIRECTORY), else nothing is kept.
  std::string keep_dir;
  std::int64_t poll_interval_ms = 500;         // file: look again; url: pause after an error
  std::int64_t long_poll_ms = 20'000;          // < the daemon's 25 s
  std::int64_t acknowledge_every_ms = 15'000;  // keeps the lease (60 s) alive
};

struct GatewayUnit {
  // Headers looked at, in order, for the assignment unit; then the body's `user`, then the request.
  std::vector<std::string> session_headers = {"X-Session-Id"};
  std::vector<std::string> user_headers = {"X-User-Id"};
  std::string tenant_header = "X-Tenant";
};

struct GatewayRecords {
  bool enabled = true;
  KafkaConnection kafka;
  std::string topic = "trimtab.records";
  std::int64_t queue_records = 10'000;  // full: the record is dropped and counted, never the answer
  std::int64_t max_record_bytes = 1LL << 20;  // longer texts are cut, `attributes.truncated`
  std::int64_t flush_ms = 5'000;              // at exit
};

struct GatewaySettings {
  std::string host = "127.0.0.1";
  std::int64_t port = 8600;
  std::string instance;           // in acknowledgements; default: host name + port
  std::string client_token_file;  // clients must send it; empty = whoever reaches the port
  MetricsSettings metrics{.host = "127.0.0.1", .port = 8601};
  LogSettings log;
  std::vector<GatewayTarget> targets;
  GatewayRouting routing;
  GatewayUnit unit;
  GatewayRecords records;
  std::int64_t threads = 32;          // one a request in flight
  std::int64_t queue_requests = 256;  // then 503
  std::int64_t max_body_bytes = 8LL << 20;
  std::int64_t max_header_bytes = 32LL << 10;
  std::int64_t connect_timeout_ms = 1'000;
  std::int64_t first_byte_timeout_ms = 60'000;
  std::int64_t idle_timeout_ms = 30'000;  // between two pieces of a stream
  std::int64_t request_deadline_ms = 600'000;
  std::int64_t retries = 2;  // on another upstream, only before the first byte
  std::int64_t health_interval_ms = 2'000;
  std::int64_t drain_ms = 30'000;  // at exit, for answers in flight
};

}  // namespace trimtab::config
