#include "daemon/job_port.h"

#include <algorithm>

#include "daemon/kill_point.h"

namespace trimtab::daemon {

Status LauncherPort::ensure(const std::string& job, const config::LimitSettings& limits) {
  const auto running = launcher_.running();
  if (std::find(running.begin(), running.end(), job) != running.end()) return {};
  if (launcher_.is_locked(job)) return launcher_.adopt(job, limits);
  if (auto result = launcher_.read_result(job); result && result->status != "interrupted") {
    retrain::JobEvent event;
    event.kind = retrain::JobEvent::Kind::kExited;
    event.job = job;
    event.result = std::move(*result);
    found_.push_back(std::move(event));
    return {};
  }
  kill_point("job.before_start");
  const auto started = launcher_.start(job, limits);
  kill_point("job.started");
  return started;
}

std::vector<retrain::JobEvent> LauncherPort::poll() {
  auto events = std::move(found_);
  found_.clear();
  for (auto& event : launcher_.poll()) events.push_back(std::move(event));
  return events;
}

}  // namespace trimtab::daemon
