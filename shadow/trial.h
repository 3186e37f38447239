// The trial: one candidate's way from REGISTERED to PROMOTED, or to one of five ends.
//
// A pure state machine. advance() looks at the trial, at what has been observed, and at the time,
// and says what comes next; apply() does the same for an operator's command. Neither has side
// effects: the daemon saves the Transition, and then asks for its effects, which are idempotent
// and carry stable keys. Observed state in, new status out, as an ordered list of small rules
// (PROMOTION.md section 1; argo-rollouts' form). One trial a target.
//
// Beyond the table: REGISTERED and OFFLINE_EVAL whose dwell ends (files or scorer out of reach) are
// INCONCLUSIVE, for that says nothing about the candidate; so are PROMOTING and BAKING, after
// ROLLING_BACK. An SRM pause is lifted by an operator only; the other automatic pauses end with
// their cause. Paused time counts towards the maximal dwell.
//
// Order of the rules: an end is an end; a rollback finishes; harm and hard SLO breaches roll back,
// paused or not; a dwell that is over ends the state; a pause holds everything else; then the
// state's own rule. Missing evidence is never a pass: absent optionals simply hold.
// Plain values, no clock, no locks: any thread, one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shadow/adapter_ref.h"
#include "shadow/plan.h"
#include "shadow/routing.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

enum class State {
  kRegistered,
  kOfflineEval,
  kLoading,
  kShadow,
  kAwaitApproval,
  kCanary,  // with Trial::step
  kAb,
  kPromoting,
  kBaking,
  kRollingBack,  // transient: routing goes back to the champion, whatever else is down
  kPromoted,     // ends from here on
  kRejected,
  kAborted,
  kRolledBack,
  kSuperseded,
  kInconclusive,
};
inline constexpr int kStateCount = 16;
[[nodiscard]] std::string_view state_name(State state);  // "REGISTERED", "CANARY", ..
[[nodiscard]] Result<State> parse_state(std::string_view name);
[[nodiscard]] bool is_end(State state);
// Users may be answered by the candidate.
[[nodiscard]] bool is_live(State state);  // CANARY, AB, PROMOTING, BAKING

// Why something happened. reason_name() is stable: it is journaled, a metric label and part of the
// report. next_step() tells an operator what to do.
enum class Reason {
  kNone,
  kRegistered,
  kPreflightPassed,
  kPreflightFailed,  // detail: the check's name
  kScreenPassed,
  kScreenFailed,  // detail: the screen's name
  kLoaded,
  kLoadFailed,  // detail: last error
  kShadowShip,
  kShadowHarm,  // detail: stratum
  kShadowExhausted,
  kApprovalNeeded,
  kBudgetSpent,  // the lifetime error budget asks for approval
  kApproved,
  kApprovalExpired,
  kStepPassed,
  kLiveShip,
  kLiveHarm,   // detail: metric
  kSloBreach,  // detail: which
  kHorizonReached,
  kAllAcknowledged,
  kBakeClean,
  kBakeHarm,       // detail: metric
  kDwellExceeded,  // detail: state
  kSuperseded,     // detail: the newer candidate
  kOperatorAbort,
  kOperatorRollback,
  kOperatorForce,
  kRolledBack,  // routing is back on the champion
  kPaused,      // detail: pause reason
  kResumed,
  kRequested,  // a command was noted (advance, promote)
};
inline constexpr int kReasonCount = 32;
[[nodiscard]] std::string_view reason_name(Reason reason);
[[nodiscard]] Result<Reason> parse_reason(std::string_view name);
[[nodiscard]] std::string_view next_step(Reason reason);

enum class Pause { kNone, kOperator, kNoData, kSrm, kServedMismatch, kAckTimeout, kScorerDown };
[[nodiscard]] std::string_view pause_name(Pause pause);
[[nodiscard]] Result<Pause> parse_pause(std::string_view name);

enum class Origin { kDrift, kJob, kManual };  // kDrift: born of an alarm; kJob: retrain by hand
[[nodiscard]] std::string_view origin_name(Origin origin);
[[nodiscard]] Result<Origin> parse_origin(std::string_view name);

struct Trial {
  std::string id;  // trial-<seq>; also the records' experiment
  std::string target;
  std::uint64_t seq = 0;  // grows by one a transition: the ETag
  State state = State::kRegistered;
  int step = 0;  // of the ladder, in CANARY
  std::int64_t created_ms = 0;
  std::int64_t entered_ms = 0;          // of the state, or of the step
  Reason reason = Reason::kRegistered;  // of the last transition
  std::string detail, message;
  std::string actor = "trimtab";

  AdapterRef candidate, champion;
  Origin origin = Origin::kManual;
  std::string alarm_id, job_id;              // empty: none
  std::uint64_t data_size = 0;               // training examples, for "grew by half"
  std::int64_t onset_ms = 0;                 // stratum `new` starts here
  std::string primary_metric = "complaint";  // complaint | accuracy: what must be superior live
  Plan plan;
  std::string plan_hash;  // config_hash(plan)

  Pause pause = Pause::kNone;
  std::string pause_message;
  Pause overridden = Pause::kNone;  // an automatic pause the operator resumed over, in this state
  bool approved = false;
  std::string approved_by;
  bool skip_dwell = false;            // `advance`: the present minimal dwell is over
  bool promote_requested = false;     // `promote`: all minimal dwells are over, approval given
  bool routed = false;                // a routing document has named the candidate (CANARY on)
  std::uint64_t units_at_entry = 0;   // closed units an arm when this ladder step began
  bool forced = false;                // `force`: statistics are skipped from here on
  bool force_once = false;            // `advance` with force: statistics of the present state only
  State ending = State::kAborted;     // the end that ROLLING_BACK leads to
  Reason end_reason = Reason::kNone;  // why it ended (or is being rolled back)
  std::string end_detail;
  bool harm = false;  // ended by harm evidence: the digest gets a tombstone
};

// --- effects, as data
enum class EffectKind {
  kVerifyFiles,    // preflight.h on the candidate; also fleet slots, max_lora_rank, GPU memory
  kOfflineScore,   // the screen: score hold-out, golden set and new records
  kLoadAdapter,    // on every endpoint; "already loaded" with the same root is success
  kWarmUp,         // one request to every endpoint under the adapter's name
  kShadowScore,    // score the next `batch` pairs of the frozen pool
  kWriteRouting,   // the arms below, under the next generation
  kUnloadAdapter,  // once no living routing document names it; 404 is success
};
[[nodiscard]] std::string_view effect_name(EffectKind kind);
[[nodiscard]] Result<EffectKind> parse_effect(std::string_view name);

struct EffectRequest {
  std::string key;  // stable: the same need has the same key after a restart. The INTENT's key
  EffectKind kind = EffectKind::kVerifyFiles;
  std::string target, trial;
  AdapterRef adapter;      // verify, load, warm up, unload
  std::vector<Arm> arms;   // write routing
  std::string experiment;  // write routing: empty when no units are compared
  std::string reason;      // write routing
  int batch = 0;           // shadow score: pairs
  bool operator==(const EffectRequest&) const = default;
};
[[nodiscard]] nlohmann::json to_json(const EffectRequest& effect);
[[nodiscard]] Result<EffectRequest> parse_effect_request(const nlohmann::json& json);

enum class EffectStatus { kPending, kApplied, kFailed };  // kFailed: for good; retries are pending
[[nodiscard]] std::string_view effect_status_name(EffectStatus status);
[[nodiscard]] Result<EffectStatus> parse_effect_status(std::string_view name);
struct EffectResult {
  EffectStatus status = EffectStatus::kPending;
  int attempts = 0;
  std::uint64_t generation = 0;  // write routing: the one it became
  std::string message;           // the last error
  bool operator==(const EffectResult&) const = default;
};

// Everything a decision may look at. The daemon fills it from its own observations; what is absent
// was not observed. Journaled beside each transition, so that the decision can be made again.
struct Evidence {
  std::map<std::string, EffectResult> effects;  // by key; only the present trial's
  std::optional<PreflightVerdict> preflight;
  std::optional<OfflineVerdict> offline;
  std::optional<ShadowVerdict> shadow;
  std::optional<LiveVerdict> live;     // CANARY, AB
  std::optional<LiveVerdict> bake;     // BAKING: candidate against hold-back
  std::uint64_t acked_generation = 0;  // lowest acknowledged by all live routers; 0: none is live
  std::int64_t oldest_unacked_ms = 0;  // how long the slowest live router has owed one
  std::string slow_router;             // its instance, for the message
  // Hard breach of the candidate's arm that the daemon saw beside LiveVerdict's; empty: none.
  std::string slo_breach;
  std::string newer_candidate;  // for the same drift; empty: none
  double alpha_spent = 0.0;     // lifetime error budget used by earlier trials
  double error_budget = 1.0;
};
[[nodiscard]] nlohmann::json to_json(const Evidence& evidence);
[[nodiscard]] Result<Evidence> parse_evidence(const nlohmann::json& json);

struct Transition {
  bool changed = false;  // false: nothing to save; `next` equals the trial
  State from = State::kRegistered, to = State::kRegistered;
  Reason reason = Reason::kNone;
  std::string detail, message, actor;
  Trial next;
  // What next.state needs, done or not; those without an APPLIED row are to be (re)tried. The
  // same as wanted_effects(next, evidence).
  std::vector<EffectRequest> effects;
};
// {from, to, reason, detail, message, actor, trial}; the journal's row, with the Evidence beside.
[[nodiscard]] nlohmann::json to_json(const Transition& transition);

// The next transition, if any. Calling it again on `next` with the same evidence and time gives
// either another step or changed = false; it never loops (bounded by the states' order).
[[nodiscard]] Transition advance(const Trial& trial, const Evidence& evidence, std::int64_t now_ms);

// --- operators
enum class Verb { kPause, kResume, kApprove, kAdvance, kPromote, kAbort, kRollback };
[[nodiscard]] std::string_view verb_name(Verb verb);
[[nodiscard]] Result<Verb> parse_verb(std::string_view name);
struct Command {
  Verb verb = Verb::kPause;
  std::string actor, reason;
  bool force = false;  // advance, promote: skip statistics, never compatibility or health
};
// kConflict when the verb makes no sense in this state (the message says which does).
[[nodiscard]] Result<Transition> apply(const Trial& trial, const Command& command,
                                       const Evidence& evidence, std::int64_t now_ms);

// What the present state needs done, in order; a pure function of trial and evidence, the same
// after a restart. Effects already APPLIED are still listed: continuous reconciliation.
[[nodiscard]] std::vector<EffectRequest> wanted_effects(const Trial& trial,
                                                        const Evidence& evidence);

// The table of PROMOTION.md section 1. Staying in a state (pause flags, ladder steps, notes) is
// legal in every state but an end.
[[nodiscard]] bool is_legal(State from, State to);

struct NewTrial {
  std::string id, target;
  AdapterRef candidate, champion;
  Origin origin = Origin::kManual;
  std::string alarm_id, job_id, primary_metric, actor;
  std::uint64_t data_size = 0;
  std::int64_t onset_ms = 0;
  Plan plan;
};
// kInvalid: a bad plan, a candidate without name or folder, the champion itself. plan.label_wait_ms
// 0 becomes label_wait_default_ms: whoever knows the label delay's quantile puts it in first.
[[nodiscard]] Result<Trial> make_trial(const NewTrial& wanted, std::int64_t now_ms);

[[nodiscard]] nlohmann::json to_json(const Trial& trial);
[[nodiscard]] Result<Trial> parse_trial(const nlohmann::json& json);

// The experiment of the routing documents in CANARY and AB, and the one while baking (a new
// comparison against the hold-back with an alpha_harm of its own). Empty: nothing is compared.
[[nodiscard]] std::string live_experiment(const Trial& trial);
[[nodiscard]] std::string bake_experiment(const Trial& trial);

// What the trial waits for, in one line for people: "CANARY 10 %: 31 of 50 units, 12 s of dwell".
[[nodiscard]] std::string waits_for(const Trial& trial, const Evidence& evidence,
                                    std::int64_t now_ms);

// Derives a journaled decision again. Empty: it agrees; else what differs.
[[nodiscard]] std::string explain_difference(const Trial& before, const Evidence& evidence,
                                             std::int64_t now_ms, const Transition& journaled);

}  // namespace trimtab::shadow
