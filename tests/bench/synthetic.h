// Observations of 20 signals (14 numeric, 6 categorical) out of nothing: what the monitor's memory
// and speed are measured with, without decoding.
#pragma once

#include <string>

#include "base/random.h"
#include "drift/monitor.h"
#include "drift/rank_e.h"

namespace trimtab::bench {

inline constexpr std::size_t kSyntheticNumeric = 14;
inline constexpr std::size_t kSyntheticSignals = 20;

inline config::DriftSettings synthetic_settings(bool segments, bool embedding) {
  config::DriftSettings settings;
  settings.reference_size = 1'000;
  settings.session_window_ms = 60'000;
  settings.max_segments = 64;
  for (std::size_t i = 0; i < kSyntheticSignals; ++i) {
    config::DriftSignalSettings signal;
    signal.source = "/attributes/s" + std::to_string(i);
    signal.kind = i < kSyntheticNumeric ? "numeric" : "categorical";
    settings.signals.push_back(signal);
  }
  if (embedding) {
    config::DriftSignalSettings signal;
    signal.source = "input_embedding";
    settings.signals.push_back(signal);
  }
  if (segments) settings.segments = {"tenant"};
  return settings;
}

class Synthetic {
 public:
  Synthetic(std::size_t segments, bool embedding, std::uint64_t seed)
      : segments_(segments), embedding_(embedding), random_(seed) {
    event_.signal_count =
        static_cast<std::uint8_t>(kSyntheticSignals + (embedding ? std::size_t{1} : 0));
    event_.segment_count = segments > 0 ? 1 : 0;
  }
  const drift::Observation& next() {
    event_.ts_ms += 100;
    event_.session_hash = ++event_.offset;
    for (std::size_t i = 0; i < kSyntheticNumeric; ++i) event_.numbers[i] = random_.uniform();
    for (std::size_t i = kSyntheticNumeric; i < kSyntheticSignals; ++i) {
      event_.categories[i] = 1 + random_.below(6);
    }
    if (segments_ > 0)
      event_.segments[0].assign("tenant-" + std::to_string(random_.below(segments_)));
    if (embedding_) {
      event_.has_embedding = true;
      event_.embedding_scale = 0.01F;
      for (auto& x : event_.embedding) x = static_cast<std::int8_t>(random_.next() >> 57);
    }
    return event_;
  }

 private:
  std::size_t segments_;
  bool embedding_;
  Random random_;
  drift::Observation event_;
};

// Feeds the monitor until every segment is armed.
inline void arm(drift::Monitor& monitor, Synthetic& source, std::size_t segments) {
  for (std::size_t i = 0; i < 1'400 * (segments + 1); ++i) {
    static_cast<void>(monitor.observe(source.next()));
  }
  monitor.tick(0);
}

}  // namespace trimtab::bench
