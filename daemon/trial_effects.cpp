// TrialRunner's effects: which loads and routing documents a trial wants, and what came of them.
#include <algorithm>

#include "base/json.h"
#include "base/log.h"
#include "daemon/trial_runner.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kBackoffMostMs = 60'000;

Json optional_number(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> number_or_none(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  return value.get<double>();
}

const shadow::Arm* find_arm(const std::vector<shadow::Arm>& arms, std::string_view role) {
  const auto it =
      std::find_if(arms.begin(), arms.end(), [&](const auto& arm) { return arm.role == role; });
  return it == arms.end() ? nullptr : &*it;
}

}  // namespace

shadow::LiveAb::Params TrialRunner::live_params(const shadow::Plan& plan, const Json& saved) {
  shadow::LiveAb::Params params;
  params.plan = plan;
  params.experiment = saved.at("experiment").get<std::string>();
  params.primary = saved.at("primary").get<std::string>();
  params.control_role = saved.at("control_role").get<std::string>();
  params.label_wait_ms = saved.at("label_wait_ms").get<std::int64_t>();
  params.p95.latency_s = number_or_none(saved.at("latency_s"));
  params.p95.tokens_out = number_or_none(saved.at("tokens_out"));
  params.p95.tokens_all = number_or_none(saved.at("tokens_all"));
  return params;
}

Status TrialRunner::order_wanted(Step& step, TrialSurroundings around,
                                 const shadow::Evidence& evidence) {
  const auto wanted = shadow::wanted_effects(*trial_, evidence);
  for (const auto& effect : wanted) {
    if (effect.kind == shadow::EffectKind::kWriteRouting) {
      TRIMTAB_CHECK_OK(order_routing(step, effect, around));
    } else if (effect.kind != shadow::EffectKind::kUnloadAdapter) {
      // Unloading is reconciliation's: it alone knows which documents are still followed.
      TRIMTAB_CHECK_OK(order_one(step, effect, around));
    }
  }
  return {};
}

Status TrialRunner::order_one(Step& step, const shadow::EffectRequest& wanted,
                              TrialSurroundings around) {
  (void)around;
  const ScoredPairing pairing{.champion = trial_->champion, .candidate = trial_->candidate};
  if (wanted.kind == shadow::EffectKind::kOfflineScore) {
    return scoring_->order_screen(step, wanted.key, pairing);
  }
  if (wanted.kind == shadow::EffectKind::kShadowScore) {
    return scoring_->order_pairs(step, wanted.key, pairing, wanted.batch);
  }
  const auto& run = effects_[wanted.key];
  const std::int64_t left_ms = run.next_at_ms - step.now_ms;  // huge: the clock was set back
  const bool waits = run.result.status != shadow::EffectStatus::kPending ||
                     (left_ms > 0 && left_ms <= kBackoffMostMs) || in_flight_.contains(wanted.key);
  if (waits) return {};
  if (wanted.kind == shadow::EffectKind::kVerifyFiles) {
    return order_call(step, wanted, "verify_files", true);
  }
  if (wanted.kind == shadow::EffectKind::kWarmUp) {
    // Only what is loaded can be warmed up.
    const auto load = effects_.find(
        trial_->id + "/" + std::string(shadow::effect_name(shadow::EffectKind::kLoadAdapter)));
    if (load != effects_.end() && load->second.result.status != shadow::EffectStatus::kApplied) {
      return {};
    }
    return order_call(step, wanted, "warm_up", false);
  }
  return order_call(step, wanted, "load_adapter", false);
}

Status TrialRunner::order_call(Step& step, const shadow::EffectRequest& wanted, const char* kind,
                               bool slow) {
  TRIMTAB_CHECK_OK(
      step.order({.key = wanted.key,
                  .kind = kind,
                  .target = trial_->target,
                  .subject = trial_->id,
                  .payload = dump_json(Json{{"adapter", shadow::to_json(wanted.adapter)}}),
                  .slow = slow}));
  in_flight_.insert(wanted.key);
  return {};
}

Status TrialRunner::order_routing(Step& step, const shadow::EffectRequest& wanted,
                                  TrialSurroundings around) {
  compare_live(wanted, around);
  auto& run = effects_[wanted.key];
  if (run.result.generation == 0) {
    doubt_ = false;
    TRIMTAB_TRY(run.result.generation,
                around.serving.write(step, wanted.arms, wanted.experiment, wanted.reason,
                                     trial_->actor, wanted.key, trial_->id));
  } else if (run.result.status == shadow::EffectStatus::kPending &&
             around.serving.applied(run.result.generation)) {
    run.result.status = shadow::EffectStatus::kApplied;
  }
  // Doubt means champion 100 %: an arm's adapter that an endpoint does not list is taken out of the
  // routing document until reconciliation has loaded it again.
  const bool missing = std::any_of(wanted.arms.begin(), wanted.arms.end(), [&](const auto& arm) {
    return !arm.adapter.bare_base() && around.serving.missing_somewhere(arm.adapter.name);
  });
  if (missing && !doubt_ && find_arm(wanted.arms, shadow::kArmCandidate) != nullptr) {
    const bool candidate_missing = around.serving.missing_somewhere(trial_->candidate.name);
    doubt_ = true;
    ++doubts_;
    TRIMTAB_TRY(
        const auto generation,
        around.serving.write(
            step,
            shadow::champion_only_arms(candidate_missing ? trial_->champion : trial_->candidate),
            "", "doubt: an endpoint does not list an arm's adapter", "trimtab",
            wanted.key + "/doubt" + std::to_string(doubts_), trial_->id));
    (void)generation;
  } else if (!missing && doubt_) {
    doubt_ = false;
    TRIMTAB_TRY(const auto generation,
                around.serving.write(step, wanted.arms, wanted.experiment, wanted.reason + " again",
                                     "trimtab", wanted.key + "/again" + std::to_string(doubts_),
                                     trial_->id));
    (void)generation;
  }
  return {};
}

// The comparison starts with the document that draws the arms.
void TrialRunner::compare_live(const shadow::EffectRequest& wanted,
                               const TrialSurroundings& around) {
  const bool holdback = find_arm(wanted.arms, shadow::kArmHoldback) != nullptr;
  const bool control = find_arm(wanted.arms, shadow::kArmControl) != nullptr;
  if ((!holdback && !control) || (holdback && bake_) || (control && ab_)) return;
  const auto p95 = [](const QuantileSketch& sketch) {
    return optional_number(sketch.quantile(.95));
  };
  const Json params = {
      {"experiment", wanted.experiment},
      {"primary", trial_->primary_metric},
      {"control_role", std::string(holdback ? shadow::kArmHoldback : shadow::kArmControl)},
      {"label_wait_ms", std::max<std::int64_t>(trial_->plan.label_wait_ms, 1)},
      {"latency_s", p95(around.champion.latency_s)},
      {"tokens_out", p95(around.champion.tokens_out)},
      {"tokens_all", p95(around.champion.tokens_all)}};
  (holdback ? bake_params_ : ab_params_) = params;
  (holdback ? bake_ : ab_).emplace(live_params(trial_->plan, params));
  live_dirty_ = true;
}

Status TrialRunner::on_effect(Step& step, const EffectOutcome& outcome) {
  if (!trial_ || outcome.subject != trial_->id) return {};
  if (scoring_) {
    TRIMTAB_TRY(const bool scored, scoring_->on_scored(step, outcome));
    if (scored) return {};
  }
  if (outcome.kind == "write_routing") {
    const auto it = effects_.find(outcome.key);
    if (it != effects_.end() && !outcome.ok) it->second.result.message = outcome.message;
    return {};  // the status follows serving's, see order_routing
  }
  in_flight_.erase(outcome.key);
  const auto it = effects_.find(outcome.key);
  if (it == effects_.end()) return {};
  auto& run = it->second;
  if (outcome.ok) {
    run.result.status = shadow::EffectStatus::kApplied;
    run.result.message.clear();
    if (outcome.kind == "verify_files") {
      TRIMTAB_TRY(const Json facts, parse_json(outcome.payload));
      TRIMTAB_TRY(preflight_, shadow::parse_preflight_verdict(facts.at("verdict")));
    }
    return step.tx.finish_intent(outcome.intent, IntentState::kApplied, outcome.payload,
                                 step.now_ms);
  }
  ++run.result.attempts;
  run.result.message = outcome.message;
  const bool final = outcome.code == Code::kInvalid || outcome.code == Code::kConflict;
  if (final) {
    run.result.status = shadow::EffectStatus::kFailed;
    return step.tx.finish_intent(outcome.intent, IntentState::kFailed, outcome.message,
                                 step.now_ms);
  }
  const int shift = std::min(run.result.attempts - 1, 10);
  run.next_at_ms =
      step.now_ms + std::min(settings_->serving.retry_backoff_ms << shift, kBackoffMostMs);
  return step.tx.count_attempt(outcome.intent, step.now_ms);
}

}  // namespace trimtab::daemon
