// Snapshot: what HTTP threads see of control, immutable, replaced as a whole after a commit. Texts
// are JSON already (docs/openapi.yaml), so that a request costs a copy. The board is thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace trimtab::daemon {

struct Snapshot {
  std::int64_t at_ms = 0;
  std::string counts;  // object: records, store, last_commit_ms
  std::string paused;  // why nothing is ingested; empty: all is well
  std::string config_hash;
  std::map<std::string, std::string> targets, drift, signals;  // by target
  std::map<std::string, std::string> promotions, evidence;  // by trial, the newest of each target
  std::map<std::string, std::string> heartbeats;            // by job, while it runs
};

class SnapshotBoard {
 public:
  void publish(std::shared_ptr<const Snapshot> snapshot) {
    std::lock_guard lock(mutex_);
    snapshot_ = std::move(snapshot);
  }
  // Never null.
  [[nodiscard]] std::shared_ptr<const Snapshot> get() const {
    std::lock_guard lock(mutex_);
    return snapshot_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Snapshot> snapshot_ = std::make_shared<Snapshot>();
};

}  // namespace trimtab::daemon
