// The daemon's EffectPerformer: model servers through the serving drivers, preflight of adapter
// files, scoring by `trimtab-worker score`. One driver a target, made at start; thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/clock.h"
#include "config/settings.h"
#include "daemon/drivers/serving_driver.h"
#include "daemon/effects.h"
#include "daemon/judge.h"

namespace trimtab::daemon {

class FleetPerformer final : public EffectPerformer {
 public:
  // kInvalid when a driver cannot be made (secret file, missing settings). `clock` outlives it.
  [[nodiscard]] static Result<std::unique_ptr<FleetPerformer>> create(
      const config::Settings& settings, Clock& clock);
  [[nodiscard]] Result<std::string> perform(const EffectOrder& order,
                                            std::stop_token stop) override;

 private:
  struct TargetParts {
    config::TargetSettings settings;
    std::unique_ptr<ServingDriver> driver;
    std::unique_ptr<Judge> judge;  // null where none is configured
  };
  FleetPerformer(const config::Settings& settings, Clock& clock);
  [[nodiscard]] Result<std::string> verify(const TargetParts& target,
                                           const nlohmann::json& payload);
  [[nodiscard]] Result<std::string> survey(const TargetParts& target,
                                           const nlohmann::json& payload);
  [[nodiscard]] Result<std::string> score(const TargetParts& target, const EffectOrder& order,
                                          const nlohmann::json& payload, std::stop_token stop);
  // The worker's own lines, from its file or by a run.
  [[nodiscard]] Result<std::string> worker_scores(const TargetParts& target,
                                                  const nlohmann::json& payload,
                                                  const std::filesystem::path& stem,
                                                  std::stop_token stop);
  // Digest of a base folder and its tokenizer, computed once.
  struct Digests {
    std::string base, tokenizer;
  };
  [[nodiscard]] Result<Digests> digests(const std::string& base);

  Clock& clock_;
  std::filesystem::path state_dir_;
  std::map<std::string, TargetParts> targets_;
  std::mutex mutex_;
  std::map<std::string, Digests> digests_;
};

// A fleet call's answer as an effect's result: not done but worth another try = kUnavailable,
// refused = kInvalid, something else under that name = kConflict.
[[nodiscard]] Result<std::string> fleet_answer(const FleetResult& result);

}  // namespace trimtab::daemon
