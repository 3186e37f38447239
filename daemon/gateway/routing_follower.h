// RoutingFollower: keeps the newest routing document of every target (RECORDS.md section 5), from a
// folder that somebody writes or by long polls to the daemon, and acknowledges what it follows.
//
// Only a document that parses, validates, is for its target and has a higher generation replaces
// the one in use. An expired document means champion only (shadow::Routing::assign looks at it).
// With source url and a keep_dir the last document of each target is written there, and read again
// at the start: until the daemon answers it is followed as far as its expiry allows; whatever the
// daemon says then replaces it, an older generation too (its state may have been restored).
// Threads: one per target (url) or one in all (file). current() is thread-safe and never waits for
// the network.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/net/client.h"
#include "config/gateway_settings.h"
#include "daemon/gateway/gateway_metrics.h"
#include "shadow/routing.h"

namespace trimtab::gateway {

class RoutingFollower {
 public:
  struct Options {
    config::GatewayRouting routing;
    std::vector<std::string> targets;
    std::string instance;  // in acknowledgements
    std::string token;     // for the daemon; empty: none
  };

  RoutingFollower(Options options, net::Client& client, Clock& clock, GatewayMetrics& metrics);
  ~RoutingFollower();  // joins; a poll under way is cancelled

  // Documents of a follower that this one replaces (reload). Call before start().
  void adopt(const RoutingFollower& previous);
  // Reads what was kept, then follows.
  void start();

  // nullptr while none has come yet.
  [[nodiscard]] std::shared_ptr<const shadow::Routing> current(const std::string& target) const;
  [[nodiscard]] bool complete() const;  // every target has one

 private:
  void follow_folder(std::stop_token stop);
  void follow_daemon(const std::string& target, std::stop_token stop);
  // True when the document in use changed.
  bool offer(const std::string& target, const std::string& text);
  void recall();
  void keep(const std::string& target, const std::string& text);
  void acknowledge(const std::string& target, std::stop_token stop);
  void complain(const std::string& target, const char* reason, const std::string& what);
  [[nodiscard]] net::Headers headers() const;

  const Options options_;
  net::Client& client_;
  Clock& clock_;
  GatewayMetrics& metrics_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const shadow::Routing>> documents_;  // under mutex
  std::map<std::string, std::string>
      complaints_;                  // under mutex: the last one a target, not repeated
  std::set<std::string> recalled_;  // under mutex: kept documents that the daemon has not seen yet
  std::vector<std::jthread> threads_;
};

}  // namespace trimtab::gateway
