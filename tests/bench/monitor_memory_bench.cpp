// monitor_memory_bench [EVENTS]: the monitor's memory over 10^8 observations of 20 signals in 1 + 4
// segments, and its speed. Live bytes of operator new and the process's VmRSS, ten times on the
// way.
#include <cstdio>
#include <ctime>
#include <fstream>

#include "tests/bench/live_bytes.h"
#include "tests/bench/synthetic.h"

namespace trimtab::bench {
namespace {

long resident_kb() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    long value = 0;
    if (word == "VmRSS:" && status >> value) return value;
  }
  return 0;
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int run(std::int64_t events) {
  constexpr std::size_t kSegments = 4;
  auto monitor = *drift::Monitor::create(synthetic_settings(true, false));
  Synthetic source(kSegments, false, 3);
  arm(monitor, source, kSegments);
  std::int64_t first = 0, last = 0, alarms = 0;
  const double start = thread_seconds();
  for (int part = 1; part <= 10; ++part) {
    for (std::int64_t i = 0; i < events / 10; ++i) alarms += monitor.observe(source.next()) ? 1 : 0;
    last = live_bytes;
    if (part == 1) first = last;
    std::printf("%12lld observations: %.3f MB live, %ld KB resident, %lld alarms\n",
                static_cast<long long>(events / 10 * part), static_cast<double>(last) / 1e6,
                resident_kb(), static_cast<long long>(alarms));
    std::fflush(stdout);
  }
  std::printf("%.0f ns an observation, drawing it included; live bytes grew by %.2f %%\n",
              (thread_seconds() - start) / static_cast<double>(events) * 1e9,
              100.0 * (static_cast<double>(last) / static_cast<double>(first) - 1.0));
  return static_cast<double>(last) <= 1.02 * static_cast<double>(first) ? 0 : 1;
}

}  // namespace
}  // namespace trimtab::bench

int main(int argc, char** argv) {
  return trimtab::bench::run(argc > 1 ? std::atoll(argv[1]) : 100'000'000);
}
