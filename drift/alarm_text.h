// What an alarm says to people, and which other signals changed with it. Private to the monitor.
#pragma once

#include <string>
#include <vector>

#include "drift/alarm.h"

namespace trimtab::drift {

// Marks the signals that changed together, by e-d-BH. REQUIRES: sorted, the largest ratio first.
void mark_together(std::vector<SignalEvidence>& signals);
// One sentence: what changed, since when, how sure.
[[nodiscard]] std::string drift_sentence(const Alarm& alarm);

}  // namespace trimtab::drift
