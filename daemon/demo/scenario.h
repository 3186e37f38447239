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
// Files: scenario.cpp (phases 1 to 3, probes), scenario_sabotage.cpp (phases 4 to 6),
// scenario_report.cpp.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/demo/child_process.h"
#include "daemon/demo/corpus.h"
#include "daemon/demo/daemon_view.h"
#include "daemon/demo/house.h"
#include "daemon/demo/options.h"
#include "daemon/demo/population.h"
#include "daemon/demo/sabotage.h"
#include "daemon/demo/watch.h"

namespace trimtab::demo {

// What the scenario did that an alarm may rightly be about. Alarms outside of all causes, and a
// second drift alarm of one cause, are false alarms.
struct Cause {
  std::string name;    // arrival | poisoned_corrections | undo
  std::string domain;  // arrival: which
  double start_s = 0;
  std::int64_t from_ms = 0, to_ms = 0;  // event time; to_ms 0: still going on
};

struct CausedAlarm {
  const AlarmView* alarm = nullptr;
  const Cause* cause = nullptr;  // nullptr: a false alarm
};
// Every alarm with its cause. Pure: `alarms` in order of time.
[[nodiscard]] std::vector<CausedAlarm> explain_alarms(const std::vector<AlarmView>& alarms,
                                                      const std::vector<Cause>& causes);

class Scenario {
 public:
  Scenario(const DemoOptions& options, const Corpus& corpus, DemoHouse& house, DaemonView& daemon,
           Population& population, Watch& watch, Clock& clock);

  // Makes `adapter` the champion before anybody asks anything, as an operator would who trusts it:
  // register, then promote with force, which skips the statistics and no other check.
  [[nodiscard]] Status adopt(const std::filesystem::path& adapter);
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
  [[nodiscard]] Status poisoned_burst(std::uint64_t& corrections);
  [[nodiscard]] Status bad_adapter(Sabotage kind, std::size_t number,
                                   const std::filesystem::path& healthy);
  [[nodiscard]] Status disliked();
  [[nodiscard]] Status undo();

  [[nodiscard]] Status run_phase(int number, const std::string& title, Status (Scenario::*phase)());
  [[nodiscard]] Status measure(const std::string& after, const std::vector<std::string>& domains,
                               int per_intent);
  void judge_accuracy(const ProbeRun& before, const ProbeRun& after, const std::string& arrived);
  void mix_only(const std::vector<std::string>& domains);
  void check(bool held, const std::string& failure);
  void open_cause(const std::string& name, const std::string& domain);
  void close_cause();
  [[nodiscard]] Status wait_for_quiet();  // no trial and no job open
  [[nodiscard]] Result<std::string> register_adapter(const std::filesystem::path& folder,
                                                     const std::string& ship);
  [[nodiscard]] Result<TrialView> wait_for_end(const std::string& trial);
  // The champion's own job once more with another seed: as good, and another adapter.
  [[nodiscard]] Status start_sibling();
  [[nodiscard]] Result<std::filesystem::path> take_sibling();
  // "OFFLINE_EVAL: screen_failed harm_on_holdout": the state in which a trial was ended, and why.
  [[nodiscard]] std::string where_it_ended(const TrialView& trial);
  [[nodiscard]] nlohmann::ordered_json trials_report();
  [[nodiscard]] nlohmann::ordered_json jobs_report() const;
  [[nodiscard]] nlohmann::ordered_json drifts_report() const;
  [[nodiscard]] nlohmann::ordered_json records_report();
  [[nodiscard]] nlohmann::ordered_json accuracy_report() const;
  void judge_alarms();

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
  std::vector<Cause> causes_;
  std::vector<ProbeRun> probes_;
  std::vector<std::string> failures_;
  std::string arriving_;  // domain of the phase in play
  std::optional<ChildProcess> sibling_;
};

// One row a test of a comparison, from a trial's evidence: {stage, metric, pairs, mean_d, ..}.
[[nodiscard]] nlohmann::ordered_json evidence_rows(const nlohmann::json& evidence);

}  // namespace trimtab::demo
