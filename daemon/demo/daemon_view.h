// DaemonView: the daemon as the demo sees it: through its public REST API and metrics, like any
// operator. One place knows the answers' shapes (docs/openapi.yaml). One thread.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/net/client.h"
#include "base/result.h"

namespace trimtab::demo {

struct TargetView {
  std::string drift_state;  // collecting | calibrating | armed | refused
  bool provisional = false;
  std::string champion;  // adapter name; empty: the bare base
  std::uint64_t generation = 0;
  std::int64_t holdout = 0;  // random-labelled evaluation records kept
  std::string open_trial;
  std::string open_job;
  std::string paused;     // reason; empty: not paused
  std::string waits_for;  // one line
  std::int64_t quarantined = 0;
  std::vector<std::string> bursts;  // sources whose corrections are held back
};

struct AlarmView {
  std::string id, kind, signal, summary;
  std::int64_t ts_ms = 0;
  std::uint64_t delay_records = 0;
  bool provisional = false;
};

struct JobView {
  std::string id, state, reason, trigger, adapter, message;
  std::int64_t examples = 0;
  double first_loss = 0, final_loss = 0, tokens_per_s = 0, seconds = 0;
  std::int64_t step = 0, steps = 0;  // of its last heartbeat
  double loss = 0;
  std::int64_t dropped_quarantined = 0;  // corrections that curation left out as quarantined
};

struct TrialView {
  std::string id, candidate, state, reason, detail, message, origin, job, waits_for;
  double share = 0;  // of the units that the candidate answers now
  bool ended = false;
};

class DaemonView {
 public:
  DaemonView(std::string url, std::string target, Clock& clock);

  [[nodiscard]] Result<TargetView> target();
  [[nodiscard]] Result<std::vector<AlarmView>> alarms();
  [[nodiscard]] Result<std::vector<JobView>> jobs();
  [[nodiscard]] Result<std::vector<TrialView>> trials();
  // The trial's journal: one object a transition.
  [[nodiscard]] Result<nlohmann::json> transitions(const std::string& trial);
  [[nodiscard]] Result<nlohmann::json> evidence(const std::string& trial);
  // log10(evidence / threshold) by signal; harm metrics as "harm:<metric>".
  [[nodiscard]] Result<std::map<std::string, double>> signals();
  // Records that wait in Kafka, over all partitions.
  [[nodiscard]] Result<double> lag();
  // Sum of a metric's series, by the label's value.
  [[nodiscard]] Result<std::map<std::string, double>> metric(const std::string& name,
                                                             const std::string& label);
  // 2xx: the answer's body; else an error with the problem's text.
  [[nodiscard]] Result<nlohmann::json> post(const std::string& path, const nlohmann::json& body);
  [[nodiscard]] Result<nlohmann::json> get(const std::string& path);

  [[nodiscard]] std::string target_path() const { return "/api/v1/targets/" + target_; }

 private:
  [[nodiscard]] Result<net::Response> post_until_answered(const std::string& path,
                                                          const std::string& body);
  const std::string url_, target_;
  net::Client client_;
  Clock& clock_;
  std::int64_t posts_ = 0;
};

}  // namespace trimtab::demo
