// Rewrites a job's `heartbeat` file from its own thread, so that a long step does not look like a
// hang. Owned by the run; set() is called from the run's thread.
#pragma once

#include <filesystem>
#include <limits>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/clock.h"
#include "retrain/job.h"

namespace trimtab::model {

class HeartbeatWriter {
 public:
  explicit HeartbeatWriter(std::filesystem::path path);
  void set(const retrain::Heartbeat& value);

 private:
  void run(std::stop_token stop);

  SystemClock clock_;
  std::filesystem::path path_;
  std::mutex mutex_;
  retrain::Heartbeat value_{0, 0, std::numeric_limits<double>::quiet_NaN(), 0, 0};
  std::jthread thread_;  // last: it reads the others
};

}  // namespace trimtab::model
