// Watch: looks at the daemon and the population twice a second, keeps the timeline, announces what
// happened, holds the population back while the daemon lags, and waits for conditions. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/demo/daemon_view.h"
#include "daemon/demo/house.h"
#include "daemon/demo/population.h"
#include "daemon/demo/report.h"

namespace trimtab::demo {

class Watch {
 public:
  // `live`: redraws a status block on the terminal; else one line an event.
  Watch(DemoHouse& house, DaemonView& daemon, Population& population, Clock& clock, bool live);

  // Looks now. Errors: a program has ended, or the daemon does not answer.
  [[nodiscard]] Status look();
  // Looks until `done` says so. kTimeout with `what` after `limit_s` seconds. Interrupted by Ctrl-C
  // (request_stop): kUnavailable.
  [[nodiscard]] Status until(const std::string& what, double limit_s,
                             const std::function<bool()>& done);
  void note(const std::string& kind, const std::string& text);
  static void request_stop();

  [[nodiscard]] double seconds() const;
  // The same of a moment of wall time.
  [[nodiscard]] double seconds_at(std::int64_t wall_ms) const;
  // What a trial's evidence was, point by point (GET promotions/{id}/evidence), for the report.
  void keep_series(const std::string& trial, const nlohmann::json& series);
  [[nodiscard]] const TargetView& target() const { return target_; }
  [[nodiscard]] const std::vector<AlarmView>& alarms() const { return alarms_; }
  [[nodiscard]] const std::vector<JobView>& jobs() const { return jobs_; }
  [[nodiscard]] const std::vector<TrialView>& trials() const { return trials_; }
  // The newest trial with this candidate or job; nullptr when there is none.
  [[nodiscard]] const TrialView* trial_of(const std::function<bool(const TrialView&)>& which) const;
  [[nodiscard]] const Timeline& timeline() const { return timeline_; }

 private:
  void sample();
  void announce();
  void draw();
  [[nodiscard]] std::vector<std::string> screen() const;

  DemoHouse& house_;
  DaemonView& daemon_;
  Population& population_;
  Clock& clock_;
  const bool live_;
  const std::int64_t start_ms_, start_wall_ms_;
  TargetView target_;
  std::vector<AlarmView> alarms_;
  std::vector<JobView> jobs_;
  std::vector<TrialView> trials_;
  std::map<std::string, double> signals_;
  double lag_ = 0;
  Timeline timeline_;
  std::set<std::string> announced_;
  PopulationCounts last_counts_;
  std::int64_t last_sample_ms_ = 0;
  int drawn_lines_ = 0;
};

}  // namespace trimtab::demo
