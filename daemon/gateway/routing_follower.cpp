#include "daemon/gateway/routing_follower.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"

namespace trimtab::gateway {
namespace {

constexpr std::uint64_t kDocumentLimit = 1 << 20;
constexpr std::int64_t kAckTotalMs = 5'000;

std::string base_url(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url + "/api/v1/routing";
}

std::filesystem::path keep_path(const config::GatewayRouting& routing, const std::string& target) {
  return std::filesystem::path(routing.keep_dir) / (target + ".json");
}

// Changes when a file was replaced: a rename gives it another inode, an editor another time.
std::string stamp_of(const std::filesystem::path& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return "";
  return std::to_string(facts.st_ino) + "/" + std::to_string(facts.st_size) + "/" +
         std::to_string(facts.st_mtim.tv_sec) + "." + std::to_string(facts.st_mtim.tv_nsec);
}

}  // namespace

RoutingFollower::RoutingFollower(Options options, net::Client& client, Clock& clock,
                                 GatewayMetrics& metrics)
    : options_(std::move(options)), client_(client), clock_(clock), metrics_(metrics) {
  for (const auto& target : options_.targets) metrics_.generation.with({target}).set(0);
}

RoutingFollower::~RoutingFollower() {
  for (auto& thread : threads_) thread.request_stop();
}

void RoutingFollower::adopt(const RoutingFollower& previous) {
  std::scoped_lock lock(mutex_, previous.mutex_);
  for (const auto& target : options_.targets) {
    const auto it = previous.documents_.find(target);
    if (it == previous.documents_.end()) continue;
    documents_[target] = it->second;
    if (previous.recalled_.contains(target)) recalled_.insert(target);
    metrics_.generation.with({target}).set(static_cast<double>(it->second->generation));
  }
}

void RoutingFollower::start() {
  if (options_.routing.source == config::RoutingSource::kFile) {
    threads_.emplace_back([this](std::stop_token stop) { follow_folder(stop); });
    return;
  }
  recall();
  for (const auto& target : options_.targets) {
    threads_.emplace_back([this, target](std::stop_token stop) { follow_daemon(target, stop); });
  }
}

// What was kept and cannot be read or is not valid is as if it were not there, and said.
void RoutingFollower::recall() {
  if (options_.routing.keep_dir.empty()) return;
  for (const auto& target : options_.targets) {
    if (current(target)) continue;  // adopted at a reload: newer
    const auto text = read_file(keep_path(options_.routing, target), kDocumentLimit);
    if (!text) {
      if (text.error().code != Code::kNotFound) complain(target, "kept", text.error().message);
      continue;
    }
    if (!offer(target, *text)) continue;
    std::lock_guard lock(mutex_);
    recalled_.insert(target);
  }
}

void RoutingFollower::keep(const std::string& target, const std::string& text) {
  if (options_.routing.keep_dir.empty()) return;
  auto kept = make_folders(options_.routing.keep_dir);
  if (kept) kept = write_atomic(keep_path(options_.routing, target), text, 0600);
  if (!kept) complain(target, "kept", "cannot be kept for a restart: " + kept.error().message);
}

std::shared_ptr<const shadow::Routing> RoutingFollower::current(const std::string& target) const {
  std::lock_guard lock(mutex_);
  const auto it = documents_.find(target);
  return it == documents_.end() ? nullptr : it->second;
}

bool RoutingFollower::complete() const {
  std::lock_guard lock(mutex_);
  return std::all_of(options_.targets.begin(), options_.targets.end(),
                     [&](const auto& target) { return documents_.contains(target); });
}

bool RoutingFollower::offer(const std::string& target, const std::string& text) {
  auto document = shadow::parse_routing(std::string_view(text));
  if (!document) {
    complain(target, "invalid", document.error().message);
    return false;
  }
  if (document->target != target) {
    complain(target, "invalid", "it is for '" + document->target + "'");
    return false;
  }
  const auto used = current(target);  // only this thread replaces it
  bool replaces_any = false;          // the daemon's first word after a restart
  {
    std::lock_guard lock(mutex_);
    replaces_any = recalled_.erase(target) > 0;
  }
  const bool same = used && document->generation == used->generation;
  if (same && (!replaces_any || *document == *used)) return false;
  if (used && document->generation < used->generation && !replaces_any) {
    complain(target, "older",
             "generation " + std::to_string(document->generation) +
                 " is older than the one in use; restart the gateway if that is meant");
    return false;
  }
  metrics_.generation.with({target}).set(static_cast<double>(document->generation));
  log::info("{}: routing generation {} ({})", target, document->generation, document->reason);
  std::lock_guard lock(mutex_);
  documents_[target] = std::make_shared<const shadow::Routing>(std::move(*document));
  complaints_.erase(target);
  return true;
}

void RoutingFollower::complain(const std::string& target, const char* reason,
                               const std::string& what) {
  metrics_.routing_errors.with({target, reason}).add();
  std::lock_guard lock(mutex_);
  if (std::exchange(complaints_[target], what) == what) return;
  log::warn("{}: routing document not taken ({}): {}", target, reason, what);
}

void RoutingFollower::follow_folder(std::stop_token stop) {
  std::map<std::string, std::string> stamps;
  std::int64_t acknowledged_ms = clock_.mono_ms();
  do {
    const bool due = clock_.mono_ms() - acknowledged_ms >= options_.routing.acknowledge_every_ms;
    if (due) acknowledged_ms = clock_.mono_ms();
    for (const auto& target : options_.targets) {
      const auto path = std::filesystem::path(options_.routing.dir) / (target + ".json");
      const auto stamp = stamp_of(path);
      bool changed = false;
      if (stamp != stamps[target]) {
        stamps[target] = stamp;
        const auto text = read_file(path, kDocumentLimit);
        if (text) {
          changed = offer(target, *text);
        } else {
          complain(target, "unreadable", text.error().message);
        }
      }
      if (changed || due) acknowledge(target, stop);
    }
  } while (clock_.sleep_ms(options_.routing.poll_interval_ms, stop) && !stop.stop_requested());
}

void RoutingFollower::follow_daemon(const std::string& target, std::stop_token stop) {
  const std::string url = base_url(options_.routing.url);
  // A poll ends in time for the next acknowledgement.
  const std::int64_t wait_ms =
      std::min(options_.routing.long_poll_ms, options_.routing.acknowledge_every_ms);
  while (!stop.stop_requested()) {
    const auto used = current(target);
    net::ClientRequest request;
    request.url = url + "?target=" + net::percent_encode(target);
    bool recalled = false;
    {
      std::lock_guard lock(mutex_);
      recalled = recalled_.contains(target);
    }
    if (used && !recalled) {
      request.url += "&wait=" + std::to_string(std::max<std::int64_t>(1, wait_ms / 1000)) +
                     "&generation=" + std::to_string(used->generation);
    }
    request.headers = headers();
    request.total_ms = request.silence_ms = wait_ms + 10'000;
    request.cancelled = [&stop] { return stop.stop_requested(); };
    const std::int64_t began_ms = clock_.mono_ms();
    const auto answer = client_.send(request);
    if (stop.stop_requested()) return;
    bool changed = false;
    bool failed = true;
    if (!answer) {
      complain(target, "unreachable", answer.error().message);
    } else if (answer->status == 200) {
      failed = false;
      changed = offer(target, answer->body);
      if (changed) keep(target, answer->body);
    } else if (answer->status == 304 || answer->status == 204) {
      failed = false;
    } else {
      complain(target, "refused", "the daemon answers " + std::to_string(answer->status));
    }
    if (!failed) acknowledge(target, stop);
    // A server that does not wait must not be asked in a tight loop.
    const bool at_once = clock_.mono_ms() - began_ms < options_.routing.poll_interval_ms;
    if (failed || (!changed && at_once)) clock_.sleep_ms(options_.routing.poll_interval_ms, stop);
  }
}

void RoutingFollower::acknowledge(const std::string& target, std::stop_token stop) {
  const auto used = current(target);
  if (!used || options_.routing.url.empty()) return;
  net::ClientRequest request;
  request.method = "POST";
  request.url = base_url(options_.routing.url) + "/acks";
  request.headers = headers();
  request.headers.set("Content-Type", "application/json");
  request.body = dump_json(
      Json{{"instance", options_.instance}, {"target", target}, {"generation", used->generation}});
  request.total_ms = kAckTotalMs;
  request.safe_to_repeat = true;
  request.cancelled = [&stop] { return stop.stop_requested(); };
  const auto answer = client_.send(request);
  if (stop.stop_requested()) return;
  if (!answer || answer->status >= 300) {
    return complain(target, "ack",
                    answer ? "acknowledgement answered " + std::to_string(answer->status)
                           : answer.error().message);
  }
  std::lock_guard lock(mutex_);
  complaints_.erase(target);
}

net::Headers RoutingFollower::headers() const {
  net::Headers headers;
  if (!options_.token.empty()) headers.set("Authorization", "Bearer " + options_.token);
  return headers;
}

}  // namespace trimtab::gateway
