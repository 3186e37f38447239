// JobPort: how control starts and watches workers. The daemon's own is retrain::Launcher; crash
// tests put a deterministic one in its place. Control thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/retrain_settings.h"
#include "retrain/launcher.h"

namespace trimtab::daemon {

class JobPort {
 public:
  virtual ~JobPort() = default;
  // Starts it, adopts a live worker that holds its lock, or reports the result that lies there
  // already: whatever a daemon finds after a crash, asking again is right.
  [[nodiscard]] virtual Status ensure(const std::string& job,
                                      const config::LimitSettings& limits) = 0;
  virtual void cancel(const std::string& job) = 0;
  [[nodiscard]] virtual std::vector<retrain::JobEvent> poll() = 0;
};

class LauncherPort final : public JobPort {
 public:
  LauncherPort(Clock& clock, std::filesystem::path jobs) : launcher_(clock, std::move(jobs)) {}
  [[nodiscard]] Status ensure(const std::string& job, const config::LimitSettings& limits) override;
  void cancel(const std::string& job) override { launcher_.cancel(job); }
  [[nodiscard]] std::vector<retrain::JobEvent> poll() override;

 private:
  retrain::Launcher launcher_;
  std::vector<retrain::JobEvent> found_;  // results that lay there already
};

}  // namespace trimtab::daemon
