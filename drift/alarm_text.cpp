#include "drift/alarm_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/clock.h"
#include "config/units.h"

namespace trimtab::drift {
namespace {

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f %%", 100.0 * share);
  return text;
}

}  // namespace

// e-d-BH at a decision (Dandapanthula and Ramdas 2025): of K detectors those with the k largest
// evidences have changed, for the largest k with M_(k) >= K c / k. The thresholds are K c already,
// so in ratios: >= 1/k. REQUIRES: sorted, the largest first.
void mark_together(std::vector<SignalEvidence>& signals) {
  std::size_t changed = 0;
  for (std::size_t k = 1; k <= signals.size(); ++k) {
    if (signals[k - 1].log10_ratio >= -std::log10(static_cast<double>(k))) changed = k;
  }
  for (std::size_t i = 0; i < changed; ++i) signals[i].together = true;
}

// One sentence: what changed, since when, how sure.
std::string drift_sentence(const Alarm& alarm) {
  std::string text = alarm.signal + " (" + alarm.segment + ") no longer looks like its ";
  text += alarm.provisional_reference ? "provisional reference" : "reference";
  text += " since " + format_rfc3339(alarm.onset_ts_ms);
  const auto most = std::max_element(
      alarm.bins.begin(), alarm.bins.end(),
      [](const BinShare& a, const BinShare& b) { return a.log_wealth < b.log_wealth; });
  if (most != alarm.bins.end() && alarm.signal != "input_embedding") {
    text += ": " + most->label + " went from " + percent(most->reference) + " to " +
            percent(most->current);
    if (!alarm.season.empty()) text += " (" + alarm.season + ")";
  }
  if (!alarm.words_gained.empty()) {
    text += "; new words:";
    for (std::size_t i = 0; i < std::min<std::size_t>(4, alarm.words_gained.size()); ++i) {
      text += (i == 0 ? " " : ", ") + alarm.words_gained[i].word;
    }
  }
  if (!alarm.driven_by.empty()) text += "; most of all in " + alarm.driven_by;
  char tail[128];
  std::snprintf(
      tail, sizeof tail,
      "; seen after %llu events, evidence %.3g of %.3g needed: by chance at most once in ",
      static_cast<unsigned long long>(alarm.delay_events), alarm.evidence, alarm.threshold);
  return text + tail + config::format_duration(static_cast<std::int64_t>(alarm.promise_ms));
}

}  // namespace trimtab::drift
