// JobRunner: one training job of a target, from the data it is trained on to the adapter folder
// that came out of it.
//
// Saved before it is launched; launched, adopted or resumed by JobPort; its end is an input of the
// control loop. The job's examples are read from the record store inside the step that starts it:
// labels of training units since the onset, and a replay of earlier right answers.
// Control thread only. One job at a time; the last one stays readable until the next starts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/step.h"
#include "daemon/training_material.h"
#include "retrain/launcher.h"
#include "retrain/policy.h"
#include "shadow/adapter_ref.h"

namespace trimtab::daemon {

struct Job {
  std::string id;
  std::string state = "saved";  // saved | running | ok | failed | interrupted | cancelled
  std::string trigger, alarm, actor;
  std::string reason, message;  // of a failure
  std::string adapter, trial;   // what came of it
  std::int64_t onset_ms = 0, created_ms = 0, started_ms = 0, ended_ms = 0;
  std::int64_t event_ms = 0;  // the watermark when it was made: data up to here
  std::int64_t examples = 0, restarts = 0, next_start_ms = 0;
  bool automatic = true;
  std::string counts;     // JSON: curation's account
  std::string result;     // JSON: result.json
  std::string heartbeat;  // JSON; not saved
};
[[nodiscard]] nlohmann::json to_json(const Job& job);
[[nodiscard]] Result<Job> parse_job_state(const nlohmann::json& saved);

class JobRunner {
 public:
  JobRunner(const config::TargetSettings& settings, const config::StateSettings& state);

  [[nodiscard]] bool open() const;
  [[nodiscard]] const std::optional<Job>& job() const { return job_; }

  // Curates, writes data, job.yaml and manifest, saves the job. kInvalid "no_data" when nothing is
  // left to train on.
  [[nodiscard]] Status start(Step& step, const retrain::Decision& decision,
                             const TrainingMaterial& material, std::int64_t onset_ms,
                             std::int64_t event_ms, const shadow::AdapterRef& champion,
                             const std::string& actor);
  // Saved but not running: to be handed to JobPort now.
  [[nodiscard]] bool wants_start(std::int64_t now_ms) const;
  void start_failed(Step& step, const Error& error);
  [[nodiscard]] Status on_event(Step& step, const retrain::JobEvent& event);
  // True once, after the job has ended.
  [[nodiscard]] bool take_ended();
  // The finished adapter, moved into adapters/ under its immutable name.
  [[nodiscard]] Result<shadow::AdapterRef> adopt_adapter(Step& step);
  [[nodiscard]] Status set_trial(Step& step, const std::string& trial, const std::string& message);
  [[nodiscard]] Status cancelled(Step& step, const std::string& actor);

  [[nodiscard]] Status save(Transaction& tx);
  [[nodiscard]] Status load(StateQueries& state);

 private:
  [[nodiscard]] Status put_document(Step& step) const;
  [[nodiscard]] Status ended(Step& step, const std::string& state);

  const config::TargetSettings* settings_;
  std::filesystem::path state_dir_;
  std::optional<Job> job_;
  bool ended_ = false;
  std::string saved_;
};

// <target>-<yyyymmddThhmmssZ>-<sha8>
[[nodiscard]] std::string adapter_name(const std::string& target, std::int64_t ms,
                                       const std::string& sha256);

}  // namespace trimtab::daemon
