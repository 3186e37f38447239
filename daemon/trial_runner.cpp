#include "daemon/trial_runner.h"

#include <algorithm>

#include "base/json.h"
#include "base/log.h"

namespace trimtab::daemon {
namespace {

constexpr int kTransitionsAStep = 32;  // more than the longest way through the states
// A point of the evidence over time a second, then ever rarer: some thousands in the longest trial.
constexpr std::int64_t kSeriesMs = 1'000, kSeriesShare = 400;
// Where a comparison's pieces lie among the target's blobs.
constexpr const char* kLivePrefix = "trial.live/";
constexpr const char* kAbPrefix = "trial.live/ab/";
constexpr const char* kBakePrefix = "trial.live/bake/";

Json row_json(const shadow::EvidenceRow& row) {
  return {{"pairs", row.pairs},
          {"mean_d", row.mean_d},
          {"log_e_superior", row.log_e_superior},
          {"log_e_non_inferior", row.log_e_non_inferior},
          {"log_e_harm", row.log_e_harm},
          {"log_threshold", row.log_threshold},
          {"log_threshold_harm", row.log_threshold_harm}};
}

Json optional_number(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

}  // namespace

double candidate_share(const shadow::Trial& trial) {
  switch (trial.state) {
    case shadow::State::kCanary: return shadow::ladder_share(trial.plan, trial.step);
    case shadow::State::kAb: return trial.plan.ladder.back();
    case shadow::State::kPromoting:
    case shadow::State::kBaking: return 1.0 - trial.plan.holdback;
    case shadow::State::kPromoted: return 1.0;
    default: return 0.0;
  }
}

Status TrialRunner::start(Step& step, shadow::Trial trial, std::unique_ptr<PairScoring> scoring) {
  trial_ = std::move(trial);
  scoring_ = std::move(scoring);
  effects_.clear();
  in_flight_.clear();
  preflight_.reset();
  ab_.reset();
  bake_.reset();
  TRIMTAB_CHECK_OK(step.tx.remove_blobs(trial_->target, kLivePrefix));
  ab_params_ = bake_params_ = Json();
  next_series_ms_ = 0;
  last_series_.clear();
  doubt_ = false;
  TRIMTAB_TRY(const auto seq,
              step.journal({.actor = trial_->actor,
                            .target = trial_->target,
                            .kind = "transition",
                            .subject = trial_->id,
                            .from = "",
                            .to = std::string(shadow::state_name(trial_->state)),
                            .config_hash = trial_->plan_hash,
                            .reason = std::string(shadow::reason_name(trial_->reason)),
                            .message = trial_->message,
                            .payload = dump_json(Json{{"trial", shadow::to_json(*trial_)},
                                                      {"pool", scoring_->pool().digest()}})}));
  (void)seq;
  return put_document(step);
}

Status TrialRunner::put_document(Step& step) const {
  return step.tx.put({.kind = "trial",
                      .id = trial_->id,
                      .target = trial_->target,
                      .state = std::string(shadow::state_name(trial_->state)),
                      .data = dump_json(shadow::to_json(*trial_)),
                      .created_ms = trial_->created_ms,
                      .updated_ms = step.now_ms});
}

void TrialRunner::on_record(const shadow::LiveRecord& record,
                            const shadow::RoutingHistory& documents) {
  if (!open()) return;
  if (ab_) ab_->on_record(record, documents);
  if (bake_) bake_->on_record(record, documents);
  live_dirty_ = live_dirty_ || ab_ || bake_;
}

void TrialRunner::on_feedback(const shadow::LiveFeedback& feedback) {
  if (!open()) return;
  if (ab_) ab_->on_feedback(feedback);
  if (bake_) bake_->on_feedback(feedback);
  live_dirty_ = live_dirty_ || ab_ || bake_;
}

shadow::Evidence TrialRunner::evidence(std::int64_t now_ms, const ServingState& serving,
                                       const shadow::TargetHistory& history) const {
  shadow::Evidence evidence;
  for (const auto& [key, run] : effects_) evidence.effects[key] = run.result;
  evidence.preflight = preflight_;
  if (scoring_) {
    evidence.offline = scoring_->screen();
    const bool past_screen = trial_->state >= shadow::State::kShadow;
    if (past_screen) evidence.shadow = scoring_->verdict();
  }
  if (ab_) evidence.live = ab_->verdict();
  if (bake_) evidence.bake = bake_->verdict();
  const AckView acks = serving.acks(now_ms);
  evidence.acked_generation = acks.lowest;
  evidence.oldest_unacked_ms = acks.oldest_unacked_ms;
  evidence.slow_router = acks.slow_router;
  evidence.alpha_spent = history.alpha_spent(settings_->promotion.budget_window_ms, now_ms);
  evidence.error_budget = settings_->promotion.error_budget;
  return evidence;
}

Status TrialRunner::take(Step& step, const shadow::Transition& transition,
                         const shadow::Evidence& evidence, const std::string& idempotency_key) {
  const Json payload = {{"before", shadow::to_json(*trial_)},
                        {"transition", shadow::to_json(transition)},
                        {"now_ms", step.now_ms}};
  trial_ = transition.next;
  TRIMTAB_TRY(const auto seq,
              step.journal({.actor = transition.actor,
                            .idempotency_key = idempotency_key,
                            .target = trial_->target,
                            .kind = "transition",
                            .subject = trial_->id,
                            .from = std::string(shadow::state_name(transition.from)),
                            .to = std::string(shadow::state_name(transition.to)),
                            .generation = static_cast<std::int64_t>(evidence.acked_generation),
                            .config_hash = trial_->plan_hash,
                            .evidence = dump_json(shadow::to_json(evidence)),
                            .reason = std::string(shadow::reason_name(transition.reason)),
                            .message = transition.message,
                            .payload = dump_json(payload)}));
  (void)seq;
  log::info("{} {} -> {} ({}): {}", trial_->id, shadow::state_name(transition.from),
            shadow::state_name(transition.to), shadow::reason_name(transition.reason),
            transition.message);
  return put_document(step);
}

Status TrialRunner::command(Step& step, const shadow::Command& command, TrialSurroundings around,
                            const std::string& idempotency_key) {
  if (!trial_) return fail(Code::kNotFound, "no trial has been started");
  const auto seen = evidence(step.now_ms, around.serving, around.history);
  TRIMTAB_TRY(const auto transition, shadow::apply(*trial_, command, seen, step.now_ms));
  if (!transition.changed) return {};
  return take(step, transition, seen, idempotency_key);
}

Result<bool> TrialRunner::advance(Step& step, TrialSurroundings around) {
  if (!open()) return false;
  if (around.watermark_ms != watermark_ms_) {
    watermark_ms_ = around.watermark_ms;
    if (ab_) ab_->on_time(watermark_ms_);
    if (bake_) bake_->on_time(watermark_ms_);
    live_dirty_ = live_dirty_ || ab_ || bake_;
    TRIMTAB_CHECK_OK(journal_units(step));
  }
  auto seen = evidence(step.now_ms, around.serving, around.history);
  for (int i = 0; i < kTransitionsAStep && open(); ++i) {
    const auto transition = shadow::advance(*trial_, seen, step.now_ms);
    if (!transition.changed) break;
    TRIMTAB_CHECK_OK(take(step, transition, seen, {}));
    seen = evidence(step.now_ms, around.serving, around.history);
  }
  TRIMTAB_CHECK_OK(journal_series(step, seen));
  TRIMTAB_CHECK_OK(order_wanted(step, around, seen));
  return !open();
}

Status TrialRunner::supersede(Step& step, const std::string& newer, TrialSurroundings around) {
  auto seen = evidence(step.now_ms, around.serving, around.history);
  seen.newer_candidate = newer;
  const auto transition = shadow::advance(*trial_, seen, step.now_ms);
  if (!transition.changed) return {};
  return take(step, transition, seen, {});
}

Status TrialRunner::resume(Step& step, TrialSurroundings around) {
  if (!open()) return {};
  return order_wanted(step, around, evidence(step.now_ms, around.serving, around.history));
}

Status TrialRunner::journal_units(Step& step) {
  for (auto* comparison : {&ab_, &bake_}) {
    if (!*comparison) continue;
    for (const auto& unit : (*comparison)->take_closed()) {
      Json values = Json::object();
      for (const auto& [metric, bad] : unit.values) values[metric] = optional_number(bad);
      const Json row = {{"unit", unit.unit},   {"record", unit.record_id},    {"arm", unit.arm},
                        {"ts_ms", unit.ts_ms}, {"closed_ms", unit.closed_ms}, {"values", values}};
      TRIMTAB_TRY(const auto seq,
                  step.tx.append_decision(trial_->id, comparison == &ab_ ? "units" : "bake_units",
                                          dump_json(row)));
      (void)seq;
    }
  }
  return {};
}

Status TrialRunner::journal_series(Step& step, const shadow::Evidence& evidence) {
  if (step.now_ms < next_series_ms_) return {};
  Json point = Json::object();
  if (evidence.shadow) {
    for (const auto& row : evidence.shadow->strata) point["shadow"][row.metric] = row_json(row);
  }
  const auto& live = evidence.bake ? evidence.bake : evidence.live;
  if (live) {
    for (const auto& row : live->metrics) point["live"][row.metric] = row_json(row);
  }
  std::string text = dump_json(point);
  if (point.empty() || text == last_series_) return {};
  last_series_ = std::move(text);
  const std::int64_t age_ms = step.now_ms - trial_->created_ms;
  next_series_ms_ = step.now_ms + std::max(kSeriesMs, age_ms / kSeriesShare);
  point["ts_ms"] = step.now_ms;
  point["state"] = std::string(shadow::state_name(trial_->state));
  TRIMTAB_TRY(const auto seq, step.tx.append_decision(trial_->id, "series", dump_json(point)));
  (void)seq;
  return {};
}

Status TrialRunner::save(Transaction& tx, const std::string& target) {
  if (!trial_) return {};
  Json effects = Json::object();
  for (const auto& [key, run] : effects_) {
    effects[key] = {std::string(shadow::effect_status_name(run.result.status)), run.result.attempts,
                    run.result.generation, run.result.message, run.next_at_ms};
  }
  const Json small = {{"trial", shadow::to_json(*trial_)},
                      {"effects", effects},
                      {"preflight", preflight_ ? shadow::to_json(*preflight_) : Json()},
                      {"ab_params", ab_params_},
                      {"bake_params", bake_params_},
                      {"next_series_ms", next_series_ms_},
                      {"last_series", last_series_},
                      {"doubt", doubt_},
                      {"doubts", doubts_}};
  std::string text = dump_json(small);
  if (text != saved_) {
    TRIMTAB_CHECK_OK(tx.put_blob(target, "trial", text));
    saved_ = std::move(text);
  }
  if (scoring_ && scoring_->dirty()) {
    TRIMTAB_CHECK_OK(tx.put_blob(target, "trial.scoring", dump_json(scoring_->save())));
  }
  return live_dirty_ ? save_live(tx, target) : Status();
}

Status TrialRunner::save_live(Transaction& tx, const std::string& target) {
  for (auto* comparison : {&ab_, &bake_}) {
    if (!*comparison) continue;
    const std::string prefix = comparison == &ab_ ? kAbPrefix : kBakePrefix;
    for (const auto& piece : (*comparison)->save_changed()) {
      if (piece.bytes.empty()) {
        TRIMTAB_CHECK_OK(tx.remove_blob(target, prefix + piece.name));
      } else {
        TRIMTAB_CHECK_OK(tx.put_blob(target, prefix + piece.name, piece.bytes));
      }
    }
  }
  live_dirty_ = false;
  return {};
}

// A comparison was saved in the step in which it was made: without its pieces it is not whole.
Status TrialRunner::load_live(StateQueries& state, const std::string& target,
                              const std::string& prefix, const Json& params,
                              std::optional<shadow::LiveAb>& comparison) {
  if (params.is_null()) return {};
  TRIMTAB_TRY(const auto keys, state.blob_keys(target));
  std::vector<shadow::LiveAb::Piece> pieces;
  for (const auto& key : keys) {
    if (!key.starts_with(prefix)) continue;
    TRIMTAB_TRY(auto bytes, state.blob(target, key));
    pieces.push_back({key.substr(prefix.size()), std::move(bytes)});
  }
  TRIMTAB_TRY(auto restored, shadow::LiveAb::restore(live_params(trial_->plan, params), pieces));
  comparison.emplace(std::move(restored));
  return {};
}

Status TrialRunner::load(StateQueries& state, const std::string& target) {
  *this = TrialRunner(*settings_);
  auto text = state.blob(target, "trial");
  if (!text && text.error().code == Code::kNotFound) return {};
  if (!text) return tl::unexpected<Error>(text.error());
  TRIMTAB_TRY(const Json saved, parse_json(*text));
  saved_ = *text;
  TRIMTAB_TRY(trial_, shadow::parse_trial(saved.at("trial")));
  for (const auto& [key, value] : saved.at("effects").items()) {
    EffectRun run;
    TRIMTAB_TRY(run.result.status, shadow::parse_effect_status(value.at(0).get<std::string>()));
    run.result.attempts = value.at(1).get<int>();
    run.result.generation = value.at(2).get<std::uint64_t>();
    run.result.message = value.at(3).get<std::string>();
    run.next_at_ms = value.at(4).get<std::int64_t>();
    effects_[key] = std::move(run);
  }
  if (!saved.at("preflight").is_null()) {
    TRIMTAB_TRY(preflight_, shadow::parse_preflight_verdict(saved.at("preflight")));
  }
  ab_params_ = saved.at("ab_params");
  bake_params_ = saved.at("bake_params");
  next_series_ms_ = saved.at("next_series_ms").get<std::int64_t>();
  last_series_ = saved.at("last_series").get<std::string>();
  doubt_ = saved.at("doubt").get<bool>();
  doubts_ = saved.at("doubts").get<std::uint64_t>();
  if (auto scoring = state.blob(target, "trial.scoring")) {
    TRIMTAB_TRY(const Json document, parse_json(*scoring));
    TRIMTAB_TRY(scoring_, PairScoring::restore(*settings_, trial_->plan, trial_->id, document));
  }
  TRIMTAB_CHECK_OK(load_live(state, target, kAbPrefix, ab_params_, ab_));
  return load_live(state, target, kBakePrefix, bake_params_, bake_);
}

}  // namespace trimtab::daemon
