// What `trimtab check-config` says about a file that is valid: what the plan can detect, how long
// that takes at the expected traffic, and what is legal but probably not meant.
//
// Delays of drift are the measured ones of STATISTICS.md section 1, scaled to the promise at hand;
// sample sizes are simulated with the same evidence that decides (base/evidence/paired_betting.h),
// seeded, so the answer is always the same. Below a second a target. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"

namespace trimtab::config {

struct Note {
  bool warning = false;
  std::string target;  // empty: the daemon's
  std::string topic;   // drift | retrain | shadow | canary | ab | bake | loop | http | ..
  std::string text;    // one line
};

[[nodiscard]] std::vector<Note> check_notes(const Settings& settings);
[[nodiscard]] std::string notes_text(const std::vector<Note>& notes);  // one line a note
[[nodiscard]] std::string notes_json(const std::vector<Note>& notes);

// Events until a shift of `sigma` standard deviations raises the alarm, at the median: reference of
// `reference_size`, one false alarm in `run_events` promised to each detector.
[[nodiscard]] double drift_delay_events(double sigma, double reference_size, double run_events);

// Pairs until the evidence decides, over `runs` simulated trials.
struct SampleSize {
  std::optional<std::int64_t> median;  // none: most runs were undecided at the cap
  std::optional<std::int64_t> p80;
};
enum class Question { kNonInferior, kSuperior };
// `gain` = E[D]; `discordant` = P(D != 0).
[[nodiscard]] SampleSize sample_size(Question question, double alpha, double margin, double gain,
                                     double discordant, std::int64_t cap);

}  // namespace trimtab::config
