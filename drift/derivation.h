// Derivation: all that an alarm's evidence was made of, so that it can be made again.
//
// The state of the alarming bets at a checkpoint (at most 255 events before the alarm, and before
// its rise where that was quicker), the frozen reference that gives the bets, and every event
// since: its bin (or value) and the event time that passed. derive_again() runs the very same
// updates. Plain bytes with a tag and a version (drift/bytes.h); pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "drift/mean_e.h"
#include "drift/rank_e.h"

namespace trimtab::drift {

// One event that fed a rank e-detector.
struct RankStep {
  float dt = 0.0F;    // ms of event time since the one before
  std::uint32_t step = 1;  // events since the one before
};
struct RankTrail {
  double threshold = 0.0;
  std::vector<const RankBets*> bets;  // [cells, channels]; cells: those that occur in `steps`
  std::vector<RankState> states;      // a channel, at the checkpoint
  std::vector<RankStep> steps;        // since
  std::vector<std::uint8_t> bins;     // [steps, channels]
  std::vector<std::uint8_t> cells;    // [steps]; empty: all 0
};
[[nodiscard]] std::string save_trail(const RankTrail& trail);

// One outcome that fed a mean e-detector.
struct MeanStep {
  double value = 0.0;
  double dt = 0.0;
};
struct MeanTrail {
  double threshold = 0.0;
  double level = 0.0;  // baseline + tolerance
  MeanState state;
  std::vector<MeanStep> steps;
};
[[nodiscard]] std::string save_trail(const MeanTrail& trail);

struct Derived {
  double evidence = 0.0;
  double threshold = 0.0;
  std::uint64_t delay_events = 0;  // from the onset to the alarm
  std::uint64_t events = 0;        // since the checkpoint
  double evidence_before = 0.0;    // at the checkpoint
  // Evidence over its threshold after each event, log10, for a drawing.
  std::vector<float> path;
};
// kCorrupt when the bytes are not a trail.
[[nodiscard]] Result<Derived> derive_again(std::string_view bytes);

// Trails as text for the journal: hexadecimal.
[[nodiscard]] std::string trail_text(std::string_view bytes);
[[nodiscard]] Result<Derived> derive_again_text(std::string_view text);

}  // namespace trimtab::drift
