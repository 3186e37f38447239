// PairScoring: stored records, scored by two adapters side by side, until the shadow gate has its
// verdict. Used by a trial (candidate against champion) and by a reverse shadow (predecessor
// against champion).
//
// Owns the frozen pool, the gate, and what is being scored now. A batch is drawn and saved in the
// step that orders it; after a crash the same batch is ordered again, so each record counts once.
// Every scored pair becomes a row of the journal (stream "pairs"), the evidence `explain` and
// `replay` work on. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/step.h"
#include "shadow/adapter_ref.h"
#include "shadow/offline_screen.h"
#include "shadow/pools.h"
#include "shadow/shadow_gate.h"

namespace trimtab::daemon {

struct ScoredPairing {
  shadow::AdapterRef champion, candidate;
};

class PairScoring {
 public:
  // Freezes the pool from what is stored: random-labelled records of evaluation units since
  // `onset_ms` (new), and those before it whose label had come by `frozen_ms` (old, the hold-out).
  [[nodiscard]] static Result<std::unique_ptr<PairScoring>> freeze(
      Step& step, const config::TargetSettings& settings, const shadow::Plan& plan,
      const std::string& subject, std::int64_t onset_ms, std::int64_t frozen_ms);
  [[nodiscard]] static Result<std::unique_ptr<PairScoring>> restore(
      const config::TargetSettings& settings, const shadow::Plan& plan, const std::string& subject,
      const nlohmann::json& saved);

  // Orders the scoring of the screen's records, unless that is under way.
  [[nodiscard]] Status order_screen(Step& step, const std::string& key,
                                    const ScoredPairing& pairing);
  // Orders the next `batch` pairs, unless some are under way, the pool is used up, the cost cap is
  // reached or the last failure was too short ago.
  [[nodiscard]] Status order_pairs(Step& step, const std::string& key, const ScoredPairing& pairing,
                                   int batch);
  // True when the outcome was one of ours.
  [[nodiscard]] Result<bool> on_scored(Step& step, const EffectOutcome& outcome);

  [[nodiscard]] const std::optional<shadow::OfflineVerdict>& screen() const { return screen_; }
  [[nodiscard]] shadow::ShadowVerdict verdict() const;
  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  [[nodiscard]] bool dirty() const { return dirty_; }
  [[nodiscard]] bool advisory() const { return advisory_; }
  [[nodiscard]] bool no_past() const { return no_past_; }
  [[nodiscard]] const shadow::FrozenPool& pool() const { return pool_; }
  // Also clears dirty().
  [[nodiscard]] nlohmann::json save();
  // Erasure: texts of these records leave the pool and what was drawn from it.
  void forget(const std::set<std::string>& record_ids) {
    dirty_ = pool_.forget(record_ids) || dirty_;
    for (auto& item : batch_) {
      if (record_ids.contains(item.id)) item.known_good.clear();
    }
  }
  // After a restart nothing is under way any more.
  void forget_flights() { flying_.clear(); }

 private:
  PairScoring(const config::TargetSettings& settings, const shadow::Plan& plan,
              std::string subject);
  [[nodiscard]] Status order(Step& step, const std::string& key, const ScoredPairing& pairing,
                             const std::vector<shadow::PoolItem>& items, bool golden);
  [[nodiscard]] Status on_failure(Step& step, const EffectOutcome& outcome);
  [[nodiscard]] Status on_screen(const std::vector<shadow::ScoreResult>& results);
  [[nodiscard]] Status on_pairs(Step& step, const std::vector<shadow::ScoreResult>& results);
  [[nodiscard]] std::vector<shadow::PoolItem> screen_items() const;

  const config::TargetSettings* settings_;
  shadow::Plan plan_;
  std::string subject_;
  shadow::FrozenPool pool_;
  bool advisory_ = false, no_past_ = false;
  std::optional<shadow::ShadowGate> gate_;
  std::optional<shadow::OfflineVerdict> screen_;
  std::vector<shadow::PoolItem> batch_;  // drawn, not yet scored
  std::string flying_;                   // key under way; not saved
  std::uint64_t batches_ = 0;
  int failures_ = 0;  // in a row
  std::int64_t next_at_ms_ = 0;
  std::int64_t window_ms_ = 0;  // cost cap: start of the hour, tokens in it
  std::int64_t window_tokens_ = 0;
  bool dirty_ = true;
};

}  // namespace trimtab::daemon
