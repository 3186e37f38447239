#include "daemon/gateway/upstreams.h"

#include <algorithm>

#include "base/log.h"

namespace trimtab::gateway {
namespace {

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

}  // namespace

Upstreams::Upstreams(const std::vector<config::GatewayUpstream>& list,
                     std::int64_t health_interval_ms, net::Client& client, Clock& clock,
                     GatewayMetrics& metrics)
    : health_interval_ms_(health_interval_ms), client_(client), clock_(clock), metrics_(metrics) {
  for (const auto& settings : list) {
    auto upstream = std::make_shared<Upstream>();
    upstream->url = without_slash(settings.url);
    const auto url = net::parse_url(settings.url);
    upstream->origin = url ? url->origin() : settings.url;
    upstream->weight = std::max<std::int64_t>(1, settings.weight);
    metrics_.upstream_healthy.with({upstream->origin}).set(1);
    list_.push_back(std::move(upstream));
  }
  checker_ = std::jthread([this](std::stop_token stop) {
    do {
      check_all(stop);
    } while (clock_.sleep_ms(health_interval_ms_, stop) && !stop.stop_requested());
  });
}

Upstreams::~Upstreams() = default;

void Upstreams::check_all(std::stop_token stop) {
  for (const auto& upstream : list_) {
    net::ClientRequest request;
    request.url = upstream->url + "/health";
    request.connect_ms = request.total_ms = std::min<std::int64_t>(health_interval_ms_, 2'000);
    request.cancelled = [&stop] { return stop.stop_requested(); };
    const auto answer = client_.send(request);
    if (stop.stop_requested()) return;
    // 404: a server without that address is a server that answers.
    const bool healthy = answer && answer->status < 500;
    if (upstream->healthy.exchange(healthy) != healthy) {
      const std::string why =
          !answer ? answer.error().message : "answers " + std::to_string(answer->status);
      log::warn("upstream {} is {}{}", upstream->origin,
                healthy ? "healthy again" : "unhealthy: ", healthy ? "" : why);
    }
    metrics_.upstream_healthy.with({upstream->origin}).set(healthy ? 1 : 0);
  }
}

std::optional<Upstreams::Turn> Upstreams::pick(
    const std::vector<std::shared_ptr<Upstream>>& tried) {
  std::lock_guard lock(mutex_);
  const std::size_t first = rotation_++;
  std::shared_ptr<Upstream> best;
  // Fewest in flight per weight among the healthy ones; the rotation breaks ties.
  const auto better = [](const Upstream& a, const Upstream& b) {
    if (a.healthy != b.healthy) return a.healthy.load();
    return (a.in_flight + 1) * b.weight < (b.in_flight + 1) * a.weight;
  };
  for (std::size_t i = 0; i < list_.size(); ++i) {
    const auto& candidate = list_[(first + i) % list_.size()];
    if (std::find(tried.begin(), tried.end(), candidate) != tried.end()) continue;
    if (!best || better(*candidate, *best)) best = candidate;
  }
  if (!best) return std::nullopt;
  return Turn(best);
}

void Upstreams::report_failure(Upstream& upstream, const char* reason) {
  metrics_.upstream_failures.with({upstream.origin, reason}).add();
  if (std::string_view(reason) != "connect") return;
  if (upstream.healthy.exchange(false)) {
    log::warn("upstream {} is unhealthy: connection failed", upstream.origin);
  }
  metrics_.upstream_healthy.with({upstream.origin}).set(0);
}

std::size_t Upstreams::healthy() const {
  return static_cast<std::size_t>(std::count_if(
      list_.begin(), list_.end(), [](const auto& upstream) { return upstream->healthy.load(); }));
}

}  // namespace trimtab::gateway
