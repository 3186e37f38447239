#include "daemon/policy_journal.h"

#include "base/json.h"

namespace trimtab::daemon {
namespace {

using retrain::AlarmInput;
using retrain::Decision;
using retrain::PolicyInputs;

Json inputs_json(const PolicyInputs& in) {
  Json alarms = Json::array();
  for (const AlarmInput& alarm : in.alarms) {
    alarms.push_back({{"id", alarm.id},
                      {"harm", alarm.harm},
                      {"confirmed", alarm.confirmed},
                      {"at_ms", alarm.at_ms},
                      {"tries", alarm.tries},
                      {"examples_at_last_try", alarm.examples_at_last_try}});
  }
  Json out = {{"now_ms", in.now_ms},
              {"alarms", std::move(alarms)},
              {"examples", in.examples},
              {"quarantined", in.quarantined},
              {"new_examples", in.new_examples},
              {"last_job_start_ms", in.last_job_start_ms},
              {"armed_since_ms", in.armed_since_ms},
              {"last_end_ms", in.last_end_ms},
              {"automatic_starts_ms", in.automatic_starts_ms},
              {"paused", in.paused},
              {"pause_reason", in.pause_reason},
              {"disk_low", in.disk_low},
              {"running_job", in.running_job},
              {"running_trial", in.running_trial}};
  if (in.manual) out["manual"] = {{"actor", in.manual->actor}, {"reason", in.manual->reason}};
  return out;
}

Result<PolicyInputs> inputs_of(const Json& row) {
  PolicyInputs in;
  TRIMTAB_TRY(in.now_ms, json_get<std::int64_t>(row, "now_ms"));
  for (const Json& alarm : json_or(row, "alarms", Json::array())) {
    in.alarms.push_back(
        {.id = json_or<std::string>(alarm, "id", ""),
         .harm = json_or(alarm, "harm", false),
         .confirmed = json_or(alarm, "confirmed", false),
         .at_ms = json_or<std::int64_t>(alarm, "at_ms", 0),
         .tries = json_or<std::int64_t>(alarm, "tries", 0),
         .examples_at_last_try = json_or<std::int64_t>(alarm, "examples_at_last_try", 0)});
  }
  TRIMTAB_TRY(in.examples, json_get<std::int64_t>(row, "examples"));
  in.quarantined = json_or<std::int64_t>(row, "quarantined", 0);
  in.new_examples = json_or<std::int64_t>(row, "new_examples", 0);
  in.last_job_start_ms = json_or<std::int64_t>(row, "last_job_start_ms", 0);
  in.armed_since_ms = json_or<std::int64_t>(row, "armed_since_ms", 0);
  in.last_end_ms = json_or<std::int64_t>(row, "last_end_ms", 0);
  in.automatic_starts_ms = json_or(row, "automatic_starts_ms", std::vector<std::int64_t>{});
  in.paused = json_or(row, "paused", false);
  in.pause_reason = json_or<std::string>(row, "pause_reason", "");
  in.disk_low = json_or(row, "disk_low", false);
  in.running_job = json_or<std::string>(row, "running_job", "");
  in.running_trial = json_or<std::string>(row, "running_trial", "");
  if (row.contains("manual")) {
    in.manual = retrain::ManualRequest{json_or<std::string>(row["manual"], "actor", ""),
                                       json_or<std::string>(row["manual"], "reason", "")};
  }
  return in;
}

// Those that retrain::decide looks at.
Json settings_json(const config::RetrainSettings& s) {
  std::vector<int> triggers;
  for (const auto trigger : s.triggers) triggers.push_back(static_cast<int>(trigger));
  return {{"triggers", triggers},
          {"schedule_every_ms", s.schedule_every_ms},
          {"volume_examples", s.volume_examples},
          {"cooldown_ms", s.cooldown_ms},
          {"minimum_examples", s.minimum_examples},
          {"max_jobs_per_day", s.max_jobs_per_day},
          {"allowed_hours", s.allowed_hours},
          {"wait_for_examples_ms", s.wait_for_examples_ms},
          {"retry_growth", s.retry_growth},
          {"retry_attempts", s.retry_attempts}};
}

Result<config::RetrainSettings> settings_of(const Json& row) {
  config::RetrainSettings s;
  TRIMTAB_TRY(const auto triggers, json_get<std::vector<int>>(row, "triggers"));
  s.triggers.clear();
  for (const int trigger : triggers) {
    if (trigger < 0 || trigger > static_cast<int>(config::Trigger::kManual)) {
      return fail(Code::kInvalid, "a policy row with an unknown trigger");
    }
    s.triggers.push_back(static_cast<config::Trigger>(trigger));
  }
  TRIMTAB_TRY(s.schedule_every_ms, json_get<std::int64_t>(row, "schedule_every_ms"));
  TRIMTAB_TRY(s.volume_examples, json_get<std::int64_t>(row, "volume_examples"));
  TRIMTAB_TRY(s.cooldown_ms, json_get<std::int64_t>(row, "cooldown_ms"));
  TRIMTAB_TRY(s.minimum_examples, json_get<std::int64_t>(row, "minimum_examples"));
  TRIMTAB_TRY(s.max_jobs_per_day, json_get<std::int64_t>(row, "max_jobs_per_day"));
  TRIMTAB_TRY(s.allowed_hours, json_get<std::vector<std::string>>(row, "allowed_hours"));
  TRIMTAB_TRY(s.wait_for_examples_ms, json_get<std::int64_t>(row, "wait_for_examples_ms"));
  TRIMTAB_TRY(s.retry_growth, json_get<double>(row, "retry_growth"));
  TRIMTAB_TRY(s.retry_attempts, json_get<std::int64_t>(row, "retry_attempts"));
  return s;
}

Json decision_json(const Decision& decision) {
  return {{"start", decision.start},
          {"trigger", retrain::trigger_name(decision.trigger)},
          {"alarm", decision.alarm_id},
          {"reason", decision.reason},
          {"message", decision.message}};
}

}  // namespace

Json policy_row(const PolicyInputs& inputs, const config::RetrainSettings& settings,
                const Decision& decision) {
  return {{"inputs", inputs_json(inputs)},
          {"settings", settings_json(settings)},
          {"decision", decision_json(decision)}};
}

Result<std::string> policy_difference(const Json& row) {
  TRIMTAB_TRY(const auto inputs, inputs_of(json_or(row, "inputs", Json::object())));
  TRIMTAB_TRY(const auto settings, settings_of(json_or(row, "settings", Json::object())));
  const Json again = decision_json(retrain::decide(inputs, settings));
  const Json journaled = json_or(row, "decision", Json::object());
  if (again == journaled) return std::string();
  return "decided again: " + dump_json(again);
}

}  // namespace trimtab::daemon
