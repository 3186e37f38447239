// Quarantine: bursts of corrections, from one source or from all together, that come faster than
// `quarantine_factor` times what is usual (STATISTICS.md section 9). They are kept, shown, and not
// trained on until somebody releases them. Labels of a random sample are never part of a burst.
//
// A pure function of the corrections' times, so nothing has to be saved but the releases. For every
// correction at t, the count in (t - window, t] is compared with factor x the usual count of a
// window: the mean over the history before t - window (at most kHistoryWindows windows, quarantined
// corrections left out). A source without kMinHistory windows of its own is compared with the mean
// of all sources; the sum of all sources without history is never called a burst (a new target has
// no usual rate). For all together the factor is quarantine_factor_all. Counts below
// quarantine_minimum are no burst.
//
// A topic that arrives raises everybody's complaints, too, and must not lock itself out: the better
// the model was, the smaller is what was usual. So for all together, and for the corrections that
// name no source, a window is a burst only if it is also above the factor x the corrections of the
// random sample in the same window. Those nobody chose: they rise when answers really are wrong,
// and stay where they were when somebody only says so. Without a random sample nothing changes.
#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/retrain_settings.h"
#include "retrain/example.h"

namespace trimtab::retrain {

inline constexpr std::int64_t kHistoryWindows = 168;  // a week of hours
inline constexpr std::int64_t kMinHistory = 3;
// Bursts are looked at anew when a share of one in so many more may have come.
inline constexpr std::int64_t kRecountShare = 20;

// A correction as the quarantine sees it: no text is read for it.
struct CorrectionTime {
  std::int64_t ts_ms = 0;  // of the feedback
  std::string source_id;
  bool sampled = false;  // of the random sample
};

struct Burst {
  std::string id;             // stable: hash of source and start; what `release` names
  std::string source;         // source_id; "*" = all sources together
  std::int64_t start_ms = 0;  // feedback times, both inclusive
  std::int64_t end_ms = 0;
  std::int64_t count = 0;  // corrections inside
  double usual = 0;        // per window
  double peak = 0;         // largest count in a window
};

// `corrections` in any order. Sorted by start, then source.
// `released`: ids of bursts that somebody let go: not reported, and usual from then on.
[[nodiscard]] std::vector<Burst> find_bursts(const std::vector<CorrectionTime>& corrections,
                                             const config::DataSettings& settings,
                                             const std::set<std::string>& released = {});

// [{id, source, start_ms, end_ms, count, usual, peak}, ..], as saved and as people see it.
[[nodiscard]] nlohmann::json to_json(const std::vector<Burst>& bursts);
[[nodiscard]] Result<std::vector<Burst>> parse_bursts(const nlohmann::json& list);

[[nodiscard]] bool in_burst(const Example& example, const std::vector<Burst>& bursts);
[[nodiscard]] bool in_burst(const CorrectionTime& correction, const std::vector<Burst>& bursts);

// When find_bursts() may have something new to say, so that it need not be asked all the time: a
// burst has quarantine_minimum corrections within a window, and then so have all sources together.
// Between two looks at least half of that many arrive, and a twentieth of what is held back.
class BurstHint {
 public:
  // A correction that is not of the random sample, as it arrives.
  void note(std::int64_t ts_ms, const config::DataSettings& settings);
  [[nodiscard]] bool due(const config::DataSettings& settings) const;
  void looked(std::int64_t held) {
    unseen_ = 0;
    held_ = held;
  }
  void look_again() { unseen_ = INT64_MAX / 2; }

  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<BurstHint> restore(const nlohmann::json& saved);

 private:
  // Of every so many, in the order of arrival: together quarantine_minimum, and few however many
  // that is.
  std::deque<std::int64_t> newest_ms_;
  std::int64_t since_mark_ = 0;
  std::int64_t unseen_ = 0;  // since the last look
  std::int64_t held_ = 0;    // then
};

}  // namespace trimtab::retrain
