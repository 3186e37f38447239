// What a target remembers between trials: cool-down, tries, tombstones, the error budget, and the
// champions it could go back to. One writer (control); saved with the state; bounded.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/shadow_settings.h"
#include "shadow/adapter_ref.h"
#include "shadow/trial.h"

namespace trimtab::shadow {

class TargetHistory {
 public:
  explicit TargetHistory(AdapterRef champion = {}) : champion_(std::move(champion)) {}

  // May a trial of this digest start now? kConflict with the reason and what to do: tombstone,
  // cool-down (automatic origins only), tries used up, data not grown by half. An operator's own
  // registration (kManual) is held back by a tombstone only.
  [[nodiscard]] Status may_start(Origin origin, const std::string& alarm_id,
                                 const std::string& digest, std::uint64_t data_size,
                                 const config::PromotionSettings& settings,
                                 std::int64_t now_ms) const;
  // May an automatic retraining for this drift be launched? As above, without a digest.
  [[nodiscard]] Status may_retry(const std::string& alarm_id, std::uint64_t data_size,
                                 const config::PromotionSettings& settings,
                                 std::int64_t now_ms) const;
  // REQUIRES: is_end(trial.state). Starts the cool-down, counts the try, spends the alphas, sets
  // the tombstone (harm only), and moves the champion when PROMOTED. True: tries are used up, so
  // an alert is due.
  bool on_end(const Trial& trial, const config::PromotionSettings& settings, std::int64_t now_ms);

  // The sum of alphas of trials that ended within the window.
  [[nodiscard]] double alpha_spent(std::int64_t window_ms, std::int64_t now_ms) const;
  [[nodiscard]] std::int64_t cooldown_until_ms() const { return cooldown_until_ms_; }
  [[nodiscard]] bool has_tombstone(const std::string& digest) const;
  // kNotFound when there is none.
  [[nodiscard]] Status lift_tombstone(const std::string& digest);
  [[nodiscard]] const std::map<std::string, std::string>& tombstones() const { return tombstones_; }

  // --- lineage and undo
  [[nodiscard]] const AdapterRef& champion() const { return champion_; }
  // Former champions, newest first; the bare base is always a legal goal, too.
  [[nodiscard]] const std::vector<AdapterRef>& kept() const { return kept_; }
  [[nodiscard]] std::int64_t promoted_at_ms() const { return promoted_at_ms_; }
  // `to`: "previous", an adapter's name, or "base". kNotFound lists what is kept; kConflict when it
  // is the champion already.
  [[nodiscard]] Result<AdapterRef> resolve_undo(std::string_view to) const;
  // After the routing document was written: swaps the champion and pauses automatic jobs (reason
  // `undo`) when going back; a roll forward to a newer kept adapter resumes them.
  void on_undo(const AdapterRef& to, std::int64_t now_ms);
  [[nodiscard]] bool jobs_paused() const { return jobs_paused_; }
  void resume_jobs() { jobs_paused_ = false; }
  // Does anything here still name the adapter? Such files are never deleted.
  [[nodiscard]] bool names(std::string_view adapter_name) const;

  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<TargetHistory> restore(const nlohmann::json& saved);

 private:
  [[nodiscard]] std::uint64_t order_of(const AdapterRef& adapter) const;
  void forget_unkept();
  struct Tries {
    int count = 0;
    std::uint64_t data_size = 0;  // of the last one
  };
  struct Spent {
    std::int64_t at_ms = 0;
    double alpha = 0.0;
    std::string trial;
  };
  AdapterRef champion_;
  std::vector<AdapterRef> kept_;
  // When each champion was first promoted, as a count: "forward" is towards a larger one. The bare
  // base and a champion from before are 0.
  std::map<std::string, std::uint64_t> order_;
  std::uint64_t promotions_ = 0;
  std::int64_t promoted_at_ms_ = 0, cooldown_until_ms_ = 0;
  bool jobs_paused_ = false;
  std::map<std::string, Tries> tries_;             // by alarm
  std::map<std::string, std::string> tombstones_;  // digest -> trial
  std::vector<Spent> spent_;
};

}  // namespace trimtab::shadow
