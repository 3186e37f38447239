#include "daemon/gateway/mirror.h"

#include <chrono>

#include "daemon/gateway/live.h"

namespace trimtab::gateway {
namespace {

constexpr std::size_t kWaiting = 64;
constexpr int kThreads = 2;
constexpr auto kLook = std::chrono::milliseconds(500);

}  // namespace

Mirror::Mirror(net::Client& client, GatewayMetrics& metrics)
    : client_(client), metrics_(metrics), queue_(kWaiting) {
  for (int i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { run(std::move(stop)); });
  }
}

Mirror::~Mirror() {
  queue_.close();
  for (auto& thread : threads_) thread.request_stop();
  threads_.clear();
}

void Mirror::offer(Copy copy) {
  const std::string target = copy.target;
  if (queue_.try_push(std::make_unique<Copy>(std::move(copy)))) return;
  metrics_.mirrored.with({target, "dropped"}).add();
}

void Mirror::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    auto copy = queue_.pop(kLook, stop);
    if (!copy) continue;
    auto& request = (*copy)->request;
    request.cancelled = [&stop] { return stop.stop_requested(); };
    const auto answer = client_.stream(request, [](std::string_view) { return true; });
    const bool ok = answer && answer->status == 200;
    metrics_.mirrored.with({(*copy)->target, ok ? "ok" : "failed"}).add();
  }
}

}  // namespace trimtab::gateway
