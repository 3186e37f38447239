// Names, messages and JSON of a trial; its rules are in trial_advance.cpp.
#include "shadow/trial.h"

#include <array>
#include <utility>

#include "shadow/fields.h"

namespace trimtab::shadow {
namespace {

constexpr std::array<std::pair<State, std::string_view>, kStateCount> kStates = {
    {{State::kRegistered, "REGISTERED"},
     {State::kOfflineEval, "OFFLINE_EVAL"},
     {State::kLoading, "LOADING"},
     {State::kShadow, "SHADOW"},
     {State::kAwaitApproval, "AWAIT_APPROVAL"},
     {State::kCanary, "CANARY"},
     {State::kAb, "AB"},
     {State::kPromoting, "PROMOTING"},
     {State::kBaking, "BAKING"},
     {State::kRollingBack, "ROLLING_BACK"},
     {State::kPromoted, "PROMOTED"},
     {State::kRejected, "REJECTED"},
     {State::kAborted, "ABORTED"},
     {State::kRolledBack, "ROLLED_BACK"},
     {State::kSuperseded, "SUPERSEDED"},
     {State::kInconclusive, "INCONCLUSIVE"}}};

struct ReasonRow {
  Reason reason;
  std::string_view name;
  std::string_view next_step;
};
constexpr std::array<ReasonRow, kReasonCount> kReasons = {{
    {Reason::kNone, "none", "nothing to do"},
    {Reason::kRegistered, "registered", "nothing to do: files are verified next"},
    {Reason::kPreflightPassed, "preflight_passed", "nothing to do: the offline screen runs next"},
    {Reason::kPreflightFailed, "preflight_failed",
     "fix the named check and register the adapter again under a new name"},
    {Reason::kScreenPassed, "screen_passed", "nothing to do: the fleet loads the adapter next"},
    {Reason::kScreenFailed, "screen_failed",
     "look at the pairs in GET promotions/{id}/evidence; train on more or cleaner data"},
    {Reason::kLoaded, "loaded", "nothing to do: the shadow test runs next"},
    {Reason::kLoadFailed, "load_failed",
     "read the model server's log for this adapter; check serving.path_map, max_loras and "
     "max_lora_rank, then register it again"},
    {Reason::kShadowShip, "shadow_ship", "nothing to do: users see it next, at a small share"},
    {Reason::kShadowHarm, "shadow_harm",
     "the digest is tombstoned; look at its training data before the next job"},
    {Reason::kShadowExhausted, "shadow_exhausted",
     "collect more randomly selected labels, or raise margin or shadow_max_pairs in a new trial"},
    {Reason::kApprovalNeeded, "approval_needed",
     "approve (trimtab approve ID) or abort; it expires with its dwell"},
    {Reason::kBudgetSpent, "budget_spent",
     "the lifetime error budget is used up: approve by hand, or raise error_budget knowingly"},
    {Reason::kApproved, "approved", "nothing to do: the canary runs"},
    {Reason::kApprovalExpired, "approval_expired",
     "nobody approved in time: register the adapter again for a fresh shadow test"},
    {Reason::kStepPassed, "step_passed", "nothing to do: the share has been widened"},
    {Reason::kLiveShip, "live_ship", "nothing to do: all routers switch next"},
    {Reason::kLiveHarm, "live_harm",
     "the champion serves again; the digest is tombstoned; read the complaints of the candidate's "
     "arm before training again"},
    {Reason::kSloBreach, "slo_breach",
     "the champion serves again; look at the candidate's errors and latency on the servers"},
    {Reason::kHorizonReached, "horizon_reached",
     "no decision within ab_max_units: raise it or margin_live, or accept that it is no better"},
    {Reason::kAllAcknowledged, "all_acknowledged", "nothing to do: it is watched while baking"},
    {Reason::kBakeClean, "bake_clean", "nothing to do: the former champion is kept for undo"},
    {Reason::kBakeHarm, "bake_harm",
     "the former champion serves again; the digest is tombstoned; find what the A/B did not see"},
    {Reason::kDwellExceeded, "dwell_exceeded",
     "the state took longer than its max_dwell: see what it waited for, then try again"},
    {Reason::kSuperseded, "superseded", "nothing to do: the newer candidate is tried instead"},
    {Reason::kOperatorAbort, "operator_abort", "nothing to do: the champion serves"},
    {Reason::kOperatorRollback, "operator_rollback", "nothing to do: the champion serves"},
    {Reason::kOperatorForce, "operator_force",
     "statistics were skipped on request: watch complaints and errors yourself"},
    {Reason::kRolledBack, "rolled_back", "nothing to do: routing is back on the champion"},
    {Reason::kPaused, "paused",
     "remove the cause named in the message, or resume, abort or roll back by hand"},
    {Reason::kResumed, "resumed", "nothing to do"},
    {Reason::kRequested, "requested", "nothing to do: it is taken up at the next step"},
}};

struct PauseRow {
  Pause pause;
  std::string_view name;
};
constexpr std::array<PauseRow, 7> kPauses = {{{Pause::kNone, "none"},
                                              {Pause::kOperator, "operator"},
                                              {Pause::kNoData, "no_data"},
                                              {Pause::kSrm, "srm"},
                                              {Pause::kServedMismatch, "served_mismatch"},
                                              {Pause::kAckTimeout, "ack_timeout"},
                                              {Pause::kScorerDown, "scorer_down"}}};
constexpr std::array<std::pair<Origin, std::string_view>, 3> kOrigins = {
    {{Origin::kDrift, "drift"}, {Origin::kJob, "job"}, {Origin::kManual, "manual"}}};
constexpr std::array<std::pair<EffectKind, std::string_view>, 7> kEffects = {
    {{EffectKind::kVerifyFiles, "verify_files"},
     {EffectKind::kOfflineScore, "offline_score"},
     {EffectKind::kLoadAdapter, "load_adapter"},
     {EffectKind::kWarmUp, "warm_up"},
     {EffectKind::kShadowScore, "shadow_score"},
     {EffectKind::kWriteRouting, "write_routing"},
     {EffectKind::kUnloadAdapter, "unload_adapter"}}};
constexpr std::array<std::pair<EffectStatus, std::string_view>, 3> kStatuses = {
    {{EffectStatus::kPending, "pending"},
     {EffectStatus::kApplied, "applied"},
     {EffectStatus::kFailed, "failed"}}};
constexpr std::array<std::pair<Verb, std::string_view>, 7> kVerbs = {
    {{Verb::kPause, "pause"},
     {Verb::kResume, "resume"},
     {Verb::kApprove, "approve"},
     {Verb::kAdvance, "advance"},
     {Verb::kPromote, "promote"},
     {Verb::kAbort, "abort"},
     {Verb::kRollback, "rollback"}}};

template <typename E, std::size_t N>
std::string_view name_of(const std::array<std::pair<E, std::string_view>, N>& table, E value) {
  for (const auto& [item, name] : table) {
    if (item == value) return name;
  }
  return "?";
}
template <typename E, std::size_t N>
Result<E> parse_name(const std::array<std::pair<E, std::string_view>, N>& table,
                     std::string_view text, const char* what) {
  std::string known;
  for (const auto& [item, name] : table) {
    if (name == text) return item;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  return fail(Code::kInvalid,
              std::string(what) + " '" + std::string(text) + "' is none of: " + known);
}

const ReasonRow& row_of(Reason reason) {
  for (const auto& row : kReasons) {
    if (row.reason == reason) return row;
  }
  return kReasons[0];
}

}  // namespace

std::string_view state_name(State state) { return name_of(kStates, state); }
Result<State> parse_state(std::string_view name) { return parse_name(kStates, name, "state"); }
bool is_end(State state) { return state >= State::kPromoted; }
bool is_live(State state) {
  return state == State::kCanary || state == State::kAb || state == State::kPromoting ||
         state == State::kBaking;
}

std::string_view reason_name(Reason reason) { return row_of(reason).name; }
std::string_view next_step(Reason reason) { return row_of(reason).next_step; }
Result<Reason> parse_reason(std::string_view name) {
  for (const auto& row : kReasons) {
    if (row.name == name) return row.reason;
  }
  return fail(Code::kInvalid, "reason '" + std::string(name) + "' is not known");
}

std::string_view pause_name(Pause pause) {
  for (const auto& row : kPauses) {
    if (row.pause == pause) return row.name;
  }
  return "?";
}
Result<Pause> parse_pause(std::string_view name) {
  for (const auto& row : kPauses) {
    if (row.name == name) return row.pause;
  }
  return fail(Code::kInvalid, "pause '" + std::string(name) + "' is not known");
}

std::string_view origin_name(Origin origin) { return name_of(kOrigins, origin); }
Result<Origin> parse_origin(std::string_view name) { return parse_name(kOrigins, name, "origin"); }
std::string_view effect_name(EffectKind kind) { return name_of(kEffects, kind); }
Result<EffectKind> parse_effect(std::string_view name) {
  return parse_name(kEffects, name, "effect");
}
std::string_view effect_status_name(EffectStatus status) { return name_of(kStatuses, status); }
Result<EffectStatus> parse_effect_status(std::string_view name) {
  return parse_name(kStatuses, name, "effect status");
}
std::string_view verb_name(Verb verb) { return name_of(kVerbs, verb); }
Result<Verb> parse_verb(std::string_view name) { return parse_name(kVerbs, name, "verb"); }

Json to_json(const EffectRequest& effect) { return detail::encode(effect); }
Result<EffectRequest> parse_effect_request(const Json& json) {
  return detail::decode_as<EffectRequest>(json, "effect");
}
Json to_json(const Evidence& evidence) { return detail::encode(evidence); }
Result<Evidence> parse_evidence(const Json& json) {
  return detail::decode_as<Evidence>(json, "evidence");
}
Json to_json(const Trial& trial) { return detail::encode(trial); }
Result<Trial> parse_trial(const Json& json) {
  TRIMTAB_TRY(auto trial, detail::decode_as<Trial>(json, "trial"));
  if (trial.plan_hash != config_hash(trial.plan)) {
    return fail(Code::kCorrupt, "trial " + trial.id +
                                    ": its plan does not have its plan_hash: a changed plan is a "
                                    "new experiment");
  }
  return trial;
}
Json to_json(const Transition& transition) {
  return {{"from", state_name(transition.from)},
          {"to", state_name(transition.to)},
          {"reason", reason_name(transition.reason)},
          {"detail", transition.detail},
          {"message", transition.message},
          {"actor", transition.actor},
          {"trial", to_json(transition.next)}};
}

namespace {
std::string metric_of(const NewTrial& wanted) {
  switch (wanted.plan.live_metric) {
    case config::LiveMetric::kComplaint: return "complaint";
    case config::LiveMetric::kAccuracy: return "accuracy";
    case config::LiveMetric::kAuto: break;
  }
  return wanted.primary_metric == "accuracy" ? "accuracy" : "complaint";
}
}  // namespace

Result<Trial> make_trial(const NewTrial& wanted, std::int64_t now_ms) {
  if (wanted.id.empty() || wanted.target.empty()) {
    return fail(Code::kInvalid, "trial: needs an id and a target");
  }
  if (wanted.candidate.bare_base() || wanted.candidate.uri.empty()) {
    return fail(Code::kInvalid, "trial: the candidate needs a name and a folder");
  }
  if (wanted.candidate.name == wanted.champion.name) {
    return fail(Code::kInvalid, "trial: '" + wanted.candidate.name + "' is the champion already");
  }
  TRIMTAB_CHECK_OK(validate_plan(wanted.plan));
  if (wanted.plan.ship == config::Ship::kNonInferior && wanted.origin != Origin::kManual) {
    return fail(Code::kInvalid,
                "plan: ship non_inferior is for operators only: register the adapter by hand");
  }
  Trial trial;
  trial.id = wanted.id;
  trial.target = wanted.target;
  trial.seq = 1;
  trial.created_ms = trial.entered_ms = now_ms;
  trial.actor = wanted.actor.empty() ? "trimtab" : wanted.actor;
  trial.message = "candidate " + wanted.candidate.name + " against " + wanted.champion.label();
  trial.candidate = wanted.candidate;
  trial.champion = wanted.champion;
  trial.origin = wanted.origin;
  trial.alarm_id = wanted.alarm_id;
  trial.job_id = wanted.job_id;
  trial.data_size = wanted.data_size;
  trial.onset_ms = wanted.onset_ms;
  trial.primary_metric = metric_of(wanted);
  trial.plan = wanted.plan;
  if (trial.plan.label_wait_ms == 0) trial.plan.label_wait_ms = trial.plan.label_wait_default_ms;
  trial.plan_hash = config_hash(trial.plan);
  return trial;
}

}  // namespace trimtab::shadow
