// detectors_bench [--write FILE] [--check] [NAME..]: what every detector of the factory costs and
// how soon it sees a change, at its defaults.
//   ns an event    the calling thread's CPU time, through the interface, best of five rounds
//   bytes          state_bytes(): the frozen reference not counted
//   mean run       events without a change / alarms (restarted after each), 600,000 events in six
//                  streams; "> N" when nobody alarmed
//   delays         medians of 41 runs: 2,000 events of the reference distribution, then a shift of
//                  .25, .5, 1, 2 sigma or sd x 1.5; "-": not seen by half of the runs in 20,000
// Numbers: normal values. Detectors of 0/1 take errors with rate .2, sigma .4 (.3, .4, .6, 1), on
// the side they watch: fhddm and stepd see the complement. Delays compare only at like mean runs.
// --write FILE: the table goes between the markers in FILE. --check: exits 1 when a figure of the
// house is missed (rank_e 30 ns and 300 bytes, adwin 40 ns, kswin 3,000 ns).
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/random.h"
#include "drift/detector.h"
#include "tests/bench/markers.h"

namespace trimtab::drift {
namespace {

constexpr int kRuns = 41;
constexpr int kBefore = 2'000;
constexpr int kLimit = 20'000;
constexpr double kErrorRate = 0.2, kErrorSigma = 0.4;

struct Change {
  double shift, scale;
};
constexpr Change kNone = {0.0, 1.0};
constexpr Change kChanges[] = {{0.25, 1.0}, {0.5, 1.0}, {1.0, 1.0}, {2.0, 1.0}, {0.0, 1.5}};

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool is(const DetectorRow& row, std::string_view name) { return name == row.name; }

// mean_e watches a rate, whatever it is declared to take.
bool takes_errors(const DetectorRow& row) {
  return row.input == InputKind::kBinary || is(row, "mean_e");
}

double draw(const DetectorRow& row, const Change& change, Random& random) {
  if (!takes_errors(row)) return change.shift + change.scale * random.normal();
  const bool error = random.chance(kErrorRate + change.shift * kErrorSigma);
  const bool complement = is(row, "fhddm") || is(row, "stepd");
  return error != complement ? 1.0 : 0.0;
}

class Maker {
 public:
  explicit Maker(const DetectorRow& row)
      : row_(row), parameters_(Parameters::parse(row.parameters, settings(row)).value()) {}

  std::unique_ptr<Detector> make(Random& random) {
    if (row_.reference == DetectorRow::Reference::kRequired) {
      reference_.resize(10'000);
      for (double& x : reference_) x = random.normal();
    }
    return row_
        .make({.parameters = parameters_, .numbers = reference_.empty() ? nullptr : &reference_})
        .value();
  }

  static ParameterPairs settings(const DetectorRow& row) {
    if (!is(row, "mean_e")) return {};
    return {{"baseline", "0.2"}, {"tolerance", "0.02"}};
  }

 private:
  const DetectorRow& row_;
  Parameters parameters_;
  std::vector<double> reference_;
};

struct Figures {
  std::string name;
  double ns = 0.0;
  std::size_t bytes = 0;
  std::int64_t events = 0, alarms = 0;
  std::vector<std::string> delays;
};

void measure_cost(const DetectorRow& row, Figures& figures) {
  Random random(1);
  Maker maker(row);
  const auto detector = maker.make(random);
  std::vector<double> values(100'000);
  for (double& x : values) x = draw(row, kNone, random);
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const double start = thread_seconds();
    for (const double x : values) {
      if (detector->update(x).drift && !detector->restarts_itself()) detector->reset();
    }
    best = std::min(best, thread_seconds() - start);
    figures.bytes = std::max(figures.bytes, detector->state_bytes());
  }
  figures.ns = best / static_cast<double>(values.size()) * 1e9;
}

void measure_run(const DetectorRow& row, Figures& figures) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Random random(seed);
    Maker maker(row);
    const auto detector = maker.make(random);
    for (int i = 0; i < 100'000; ++i, ++figures.events) {
      if (!detector->update(draw(row, kNone, random)).drift) continue;
      ++figures.alarms;
      if (!detector->restarts_itself()) detector->reset();
    }
  }
}

int delay_of(const DetectorRow& row, const Change& change, std::uint64_t seed) {
  Random random(seed);
  Maker maker(row);
  const auto detector = maker.make(random);
  for (int i = 0; i < kBefore; ++i) {
    if (detector->update(draw(row, kNone, random)).drift && !detector->restarts_itself()) {
      detector->reset();
    }
  }
  for (int i = 1; i <= kLimit; ++i) {
    if (detector->update(draw(row, change, random)).drift) return i;
  }
  return kLimit + 1;
}

std::string median_delay(const DetectorRow& row, const Change& change) {
  if (takes_errors(row) && change.scale != 1.0) return "";
  std::vector<int> delays;
  for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
    delays.push_back(delay_of(row, change, 7000 + seed));
  }
  std::nth_element(delays.begin(), delays.begin() + kRuns / 2, delays.end());
  const int median = delays[kRuns / 2];
  return median > kLimit ? "-" : std::to_string(median);
}

std::string mean_run(const Figures& figures) {
  if (figures.alarms == 0) return "> " + std::to_string(figures.events);
  return std::to_string(figures.events / figures.alarms);
}

std::string line_of(const Figures& figures) {
  char text[160];
  std::snprintf(text, sizeof text, "| %s | %.*f | %zu | %s |", figures.name.c_str(),
                figures.ns < 10.0 ? 1 : 0, figures.ns, figures.bytes, mean_run(figures).c_str());
  std::string line = text;
  for (const auto& delay : figures.delays) line += " " + delay + " |";
  return line;
}

constexpr const char* kHead =
    "| detector | ns an event | bytes | mean run to a false alarm | .25 sigma | .5 | 1 | 2 | sd x "
    "1.5 |\n|---|---|---|---|---|---|---|---|---|\n";

bool meets(const Figures& figures) {
  struct Bound {
    const char* name;
    double ns;
    std::size_t bytes;
  };
  for (const Bound& bound : {Bound{"rank_e", 30.0, 300}, Bound{"adwin", 40.0, 1 << 20},
                             Bound{"kswin", 3000.0, 1 << 20}}) {
    if (figures.name != bound.name) continue;
    if (figures.ns <= bound.ns && figures.bytes <= bound.bytes) continue;
    std::fprintf(stderr, "%s: %.1f ns, %zu bytes; at most %.0f and %zu\n", bound.name, figures.ns,
                 figures.bytes, bound.ns, bound.bytes);
    return false;
  }
  return true;
}

int run(int argc, char** argv) {
  std::string file;
  bool check = false;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--write" && i + 1 < argc) {
      file = argv[++i];
    } else if (word == "--check") {
      check = true;
    } else {
      names.push_back(word);
    }
  }
  std::string table = kHead;
  std::fputs(kHead, stdout);
  bool good = true;
  for (const DetectorRow& row : detector_table()) {
    if (!names.empty() && std::find(names.begin(), names.end(), row.name) == names.end()) continue;
    Figures figures{.name = row.name};
    measure_cost(row, figures);
    measure_run(row, figures);
    for (const Change& change : kChanges) figures.delays.push_back(median_delay(row, change));
    std::printf("%s\n", line_of(figures).c_str());
    std::fflush(stdout);
    table += line_of(figures) + "\n";
    good = meets(figures) && good;
  }
  if (!file.empty() && !bench::write_between_markers(file, "detectors", table)) {
    std::fprintf(stderr, "%s: no markers, or it cannot be written\n", file.c_str());
    return 1;
  }
  return good || !check ? 0 : 1;
}

}  // namespace
}  // namespace trimtab::drift

int main(int argc, char** argv) { return trimtab::drift::run(argc, argv); }
