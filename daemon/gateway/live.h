// What a configuration makes of the gateway: one immutable object a generation of the
// configuration. A request keeps the one it began with; a reload swaps in the next.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "config/gateway_settings.h"
#include "daemon/gateway/gateway_metrics.h"
#include "daemon/gateway/mirror.h"
#include "daemon/gateway/routing_follower.h"
#include "daemon/gateway/upstreams.h"
#include "daemon/kafka_producer.h"

namespace trimtab::gateway {

struct LiveTarget {
  config::GatewayTarget settings;
  std::string base_name;  // upstream model name of the bare base
  std::string token;      // for the upstreams; empty: the client's own is passed on
  std::unique_ptr<Upstreams> upstreams;
};

struct Live {
  config::GatewaySettings settings;
  std::string instance;
  std::string client_token;  // empty: none asked for
  std::map<std::string, LiveTarget> targets;
  std::unique_ptr<RoutingFollower> routing;
};

// What outlives reloads. Owned by the Gateway.
struct Parts {
  Clock& clock;
  net::Client& client;
  GatewayMetrics& metrics;
  daemon::KafkaProducer* producer;  // nullptr: records are off
  Mirror& mirror;
};

}  // namespace trimtab::gateway
