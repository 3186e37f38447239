#include "daemon/promotion_view.h"

#include "base/json.h"
#include "daemon/trial_runner.h"

namespace trimtab::daemon {

Json promotion_json(const shadow::Trial& trial, const shadow::Evidence& evidence,
                    std::int64_t now_ms) {
  const bool ended = shadow::is_end(trial.state);
  const auto reason = ended ? trial.end_reason : trial.reason;
  return {{"id", trial.id},
          {"target", trial.target},
          {"seq", trial.seq},
          {"state", std::string(shadow::state_name(trial.state))},
          {"step", trial.step},
          {"ended", ended},
          {"reason", std::string(shadow::reason_name(reason))},
          {"detail", ended ? trial.end_detail : trial.detail},
          {"message", trial.message},
          {"candidate", trial.candidate.name},
          {"candidate_sha256", trial.candidate.sha256},
          {"champion", trial.champion.bare_base() ? Json() : Json(trial.champion.name)},
          {"origin", std::string(shadow::origin_name(trial.origin))},
          {"alarm", trial.alarm_id},
          {"job", trial.job_id},
          {"actor", trial.actor},
          {"primary_metric", trial.primary_metric},
          {"share", candidate_share(trial)},
          {"pause", std::string(shadow::pause_name(trial.pause))},
          {"pause_message", trial.pause_message},
          {"approved_by", trial.approved_by},
          {"waits_for", shadow::waits_for(trial, evidence, now_ms)},
          {"next_step", std::string(shadow::next_step(reason))},
          {"created_ms", trial.created_ms},
          {"entered_ms", trial.entered_ms},
          {"plan_hash", trial.plan_hash},
          {"trial", shadow::to_json(trial)}};
}

}  // namespace trimtab::daemon
