// Mirror: copies of champion requests for the candidate's adapter (routing documents' mirror_ppm),
// so that it is warm and its latency under load is known before anybody depends on it. Nobody sees
// a copy's answer and no record is made of it; it is counted, and dropped when the queue is full or
// the process ends. Never delays an answer. Thread-safe.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/net/client.h"
#include "base/queue.h"
#include "daemon/gateway/gateway_metrics.h"
#include "daemon/gateway/upstreams.h"

namespace trimtab::gateway {

struct Live;

class Mirror {
 public:
  struct Copy {
    std::string target;
    net::ClientRequest request;
    Upstreams::Turn turn;              // counted among the server's requests in flight
    std::shared_ptr<const Live> live;  // what the turn belongs to
  };

  Mirror(net::Client& client, GatewayMetrics& metrics);
  ~Mirror();  // drops what waits, cancels what is under way, joins

  void offer(Copy copy);

 private:
  void run(std::stop_token stop);

  net::Client& client_;
  GatewayMetrics& metrics_;
  BoundedQueue<std::unique_ptr<Copy>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace trimtab::gateway
