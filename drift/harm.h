// HarmWatch: one bounded outcome against what it was in the reference, by mean_e in event time.
//
// Baseline: the upper 95 % confidence bound of the reference's rate, frozen once `min_reference`
// outcomes are there and the drift reference is complete (or at `max_reference`). It is absolute:
// renew() collects a new one and takes it only if it is not worse. An alarm is latched: no second
// one until the rate is shown to be back below baseline + tolerance, or renew(). Outcomes of
// records before the last renew() are not looked at, however late they come.
// Memory: 256 outcomes for the onset and examples, about 18 KB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/drift_settings.h"
#include "drift/alarm.h"
#include "drift/mean_e.h"
#include "drift/monitor.h"
#include "drift/outcome.h"
#include "drift/pieces.h"

namespace trimtab::drift {

class HarmWatch {
 public:
  // `threshold_ms`: the shared promise in event time. `prefix` names its pieces.
  HarmWatch(config::HarmMetricSettings settings, double threshold_ms, double recovery_alpha,
            std::string prefix);

  // `reference_complete`: the drift reference is no longer being collected.
  [[nodiscard]] std::optional<Alarm> observe(const Outcome& outcome, bool reference_complete);
  // After PROMOTED: take the baseline anew from outcomes at or after `since_ts_ms`.
  void renew(std::int64_t since_ts_ms);

  [[nodiscard]] const std::string& name() const { return settings_.name; }
  [[nodiscard]] bool latched() const { return core_.latched; }
  // Could raise an alarm now.
  [[nodiscard]] bool armed() const { return core_.armed && !core_.latched; }
  [[nodiscard]] HarmStatus status() const;

  void save(SaveMode mode, std::vector<StatePiece>& out) const;
  void mark_saved() { recent_.mark_saved(); }
  [[nodiscard]] Status restore(const PieceMap& pieces);

 private:
  static constexpr std::size_t kRecent = 256;
  struct Mark {
    std::int64_t ts_ms = 0;
    std::uint64_t offset = 0;
    double value = 0.0;
    RecordId id;
  };
  struct Core {  // plain bytes: saved as it is
    bool armed = false;
    bool latched = false;
    bool renewing = false;
    std::int64_t since_ts_ms = 0;  // outcomes before it do not count for a new baseline
    std::int64_t collected = 0;
    double collected_sum = 0.0;
    std::int64_t reference_size = 0;
    double reference_rate = 0.0;
    double baseline = 1.0;
    std::int64_t last_ts_ms = 0;
    std::uint64_t outcomes = 0;
    std::uint64_t refused = 0;
    double recent_rate = 0.0;
    double recent_weight = 0.0;
    MeanState evidence;
    MeanState recovery;
    // Where an alarm's trail begins (derivation.h).
    MeanState checkpoint;
    std::uint64_t checkpoint_outcomes = 0;
    std::int64_t checkpoint_ts_ms = 0;
  };
  void collect(const Outcome& outcome, bool reference_complete);
  void note(const Outcome& outcome);
  [[nodiscard]] double level() const { return core_.baseline + settings_.tolerance; }
  [[nodiscard]] const MeanBets& bets();
  [[nodiscard]] Alarm make_alarm(const Outcome& outcome) const;
  void set_checkpoint();
  void note_checkpoint();
  [[nodiscard]] std::string trail() const;

  config::HarmMetricSettings settings_;
  double threshold_ms_;
  double recovery_threshold_;
  std::string prefix_;
  Core core_;
  MeanBets bets_{1.0};     // those of bets_level_
  double bets_level_ = 1.0;
  ChunkedVector<Mark, 32> recent_;  // ring, slot = outcome number % kRecent
};

}  // namespace trimtab::drift
