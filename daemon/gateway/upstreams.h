// Upstreams: the model servers behind one alias, with health, and who gets the next request.
//
// The next request goes to the healthy server with the fewest requests in flight per weight. A
// server turns unhealthy when a call to it fails to connect or when GET /health fails, and healthy
// again when GET /health answers. With none healthy, all are tried: a wrong health check must not
// be an outage. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/net/client.h"
#include "config/gateway_settings.h"
#include "daemon/gateway/gateway_metrics.h"

namespace trimtab::gateway {

struct Upstream {
  std::string url;     // without a slash at the end
  std::string origin;  // for metrics and records
  std::int64_t weight = 1;
  std::atomic<std::int64_t> in_flight{0};
  std::atomic<bool> healthy{true};
};

class Upstreams {
 public:
  Upstreams(const std::vector<config::GatewayUpstream>& list, std::int64_t health_interval_ms,
            net::Client& client, Clock& clock, GatewayMetrics& metrics);
  ~Upstreams();  // joins the health thread

  // A turn on one server: counted as in flight while it lives.
  class Turn {
   public:
    explicit Turn(std::shared_ptr<Upstream> upstream) : upstream_(std::move(upstream)) {
      ++upstream_->in_flight;
    }
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&& other) noexcept {
      std::swap(upstream_, other.upstream_);
      return *this;
    }
    ~Turn() {
      if (upstream_) --upstream_->in_flight;
    }
    Upstream* operator->() const { return upstream_.get(); }
    [[nodiscard]] const std::shared_ptr<Upstream>& get() const { return upstream_; }

   private:
    std::shared_ptr<Upstream> upstream_;
  };

  // The best server that is not in `tried`; nullptr-like (false) when all were tried.
  [[nodiscard]] std::optional<Turn> pick(const std::vector<std::shared_ptr<Upstream>>& tried);
  void report_failure(Upstream& upstream, const char* reason);
  [[nodiscard]] std::size_t healthy() const;
  [[nodiscard]] std::size_t size() const { return list_.size(); }

 private:
  void check_all(std::stop_token stop);

  std::vector<std::shared_ptr<Upstream>> list_;  // fixed
  std::mutex mutex_;
  std::size_t rotation_ = 0;  // under mutex: breaks ties
  const std::int64_t health_interval_ms_;
  net::Client& client_;
  Clock& clock_;
  GatewayMetrics& metrics_;
  std::jthread checker_;
};

}  // namespace trimtab::gateway
