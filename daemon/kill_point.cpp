#include "daemon/kill_point.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <string>

#include "base/check.h"

namespace trimtab::daemon {
namespace {

constexpr std::array<std::string_view, 8> kNames = {
    "step.begin",        // inputs were taken, nothing is applied
    "step.applied",      // in memory, not committed
    "step.committed",    // durable, no effect was asked for
    "effect.before",     // INTENT is durable, the call was not made
    "effect.after",      // the call was made, its result is not known to control
    "job.before_start",  // the job is saved, its process is not started
    "job.started",       // the process runs, the result of starting it is not known
    "step.announced",    // offsets and events were told to everybody
};

struct Wanted {
  std::string name;
  int count = 1;
};

const Wanted& wanted() {
  static const Wanted value = [] {
    Wanted parsed;
    const char* text = std::getenv("TRIMTAB_KILL_AT");
    if (text == nullptr) return parsed;
    parsed.name = text;
    const auto colon = parsed.name.find(':');
    if (colon != std::string::npos) {
      parsed.count = std::max(1, std::atoi(parsed.name.c_str() + colon + 1));
      parsed.name.resize(colon);
    }
    CHECK(std::find(kNames.begin(), kNames.end(), parsed.name) != kNames.end(),
          "TRIMTAB_KILL_AT names no kill point");
    return parsed;
  }();
  return value;
}

}  // namespace

void kill_point(std::string_view name) {
  if (wanted().name != name) return;
  static std::atomic<int> passed{0};
  if (++passed == wanted().count) ::kill(::getpid(), SIGKILL);
}

std::span<const std::string_view> kill_point_names() { return kNames; }

}  // namespace trimtab::daemon
