// The scenario: six phases, played by the population against the real programs, judged at the end.
//
//   1 steady traffic of the known domains: no alarm
//   2 domain X arrives: drift, harm, retraining, shadow, ramp, promotion; nobody touches anything
//   3 domain Y arrives: the same from the promoted champion
//   4 sabotage: poisoned corrections and four bad adapters; none may become champion
//   5 an adapter that passes the shadow and that users dislike: rolled back
//   6 undo of the last promotion, and forward again
//
// The next phase starts when the state allows it, never by a timer. One thread.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/demo/corpus.h"
#include "daemon/demo/daemon_view.h"
#include "daemon/demo/house.h"
#include "daemon/demo/options.h"
#include "daemon/demo/population.h"
#include "daemon/demo/watch.h"

namespace trimtab::demo {

class Scenario {
 public:
  Scenario(const DemoOptions& options, const Corpus& corpus, DemoHouse& house, DaemonView& daemon,
           Population& population, Watch& watch, Clock& clock);

  // Plays all phases asked for. Stops at the first that cannot go on; report() is valid then too.
  void play();
  // docs/DEMO.md describes it. `passed` is true only when every check of every phase held.
  [[nodiscard]] nlohmann::ordered_json report();

 private:
  struct ProbeRun {
    std::string after;
    std::map<std::string, std::vector<bool>> right;  // by domain, in a fixed order
  };

  [[nodiscard]] Status steady();
  [[nodiscard]] Status arrival(int phase, const std::string& domain);
  [[nodiscard]] Status sabotage();
  [[nodiscard]] Status poisoned_retrain();
  [[nodiscard]] Status disliked();
  [[nodiscard]] Status undo();

  [[nodiscard]] Status run_phase(int number, const std::string& title, Status (Scenario::*phase)());
  [[nodiscard]] Status measure(const std::string& after, const std::vector<std::string>& domains);
  void judge_accuracy(const ProbeRun& before, const ProbeRun& after, const std::string& arrived);
  void mix_only(const std::vector<std::string>& domains);
  void check(bool held, const std::string& failure);
  [[nodiscard]] Result<std::string> register_adapter(const std::filesystem::path& folder,
                                                     const std::string& ship);
  [[nodiscard]] Result<TrialView> wait_for_end(const std::string& trial, double limit_s);
  [[nodiscard]] Result<std::filesystem::path> retrain_champion_with_seed(std::uint64_t seed);
  [[nodiscard]] nlohmann::ordered_json trials_report();
  [[nodiscard]] nlohmann::ordered_json accuracy_report() const;

  const DemoOptions& options_;
  const Corpus& corpus_;
  DemoHouse& house_;
  DaemonView& daemon_;
  Population& population_;
  Watch& watch_;
  Clock& clock_;
  std::vector<std::string> known_, arrivals_, present_;
  nlohmann::ordered_json phases_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json sabotage_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json drifts_ = nlohmann::ordered_json::array();
  std::vector<ProbeRun> probes_;
  std::vector<std::string> failures_;
  std::set<std::string> expected_alarms_;
  std::string arriving_;  // domain of the phase in play
  int probe_number_ = 0;
};

}  // namespace trimtab::demo
