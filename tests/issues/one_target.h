// One target and its control loop on a virtual clock, for tests of what control decides: records
// and labels go in as JSON, effects and jobs are answered at once. State, journal, record store and
// control loop are the daemon's own.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "daemon/control_loop.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {

// Which records drift looks at, and how it answers, with everything else at rest.
[[nodiscard]] config::TargetSettings quiet_target();

class OneTarget {
 public:
  // `ms_a_step`: how far the clock moves with each step.
  explicit OneTarget(const config::TargetSettings& settings, std::int64_t ms_a_step = 1'000);
  ~OneTarget();

  // One step: `messages` (records and feedback as RECORDS.md has them) arrive together.
  void step(const std::vector<nlohmann::json>& messages = {});
  [[nodiscard]] CommandAnswer command(const std::string& verb, const std::string& body = "{}");

  [[nodiscard]] std::int64_t now_ms() const { return now_ms_; }
  [[nodiscard]] const Target& target() const { return *loop_->targets().at("bot"); }
  [[nodiscard]] std::vector<nlohmann::json> documents(const std::string& kind);
  [[nodiscard]] nlohmann::json view() const { return target().view(now_ms_); }

  // A record of now whose input is `words`; `more` overrides its keys.
  [[nodiscard]] nlohmann::json record(const std::string& words, const nlohmann::json& more = {});
  // A randomly selected label for it.
  [[nodiscard]] nlohmann::json label(const nlohmann::json& record, bool right,
                                     const std::string& correction = "");

 private:
  struct Parts;
  TempFolder folder_;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<ControlLoop> loop_;
  const std::int64_t ms_a_step_;
  std::int64_t now_ms_;
  std::int64_t offset_ = 0;
  std::uint64_t made_ = 0;
};

}  // namespace trimtab::daemon
