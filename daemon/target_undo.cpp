// Undo, the reverse shadow that may ask for one, and reconciliation with the fleet.
#include <algorithm>
#include <set>

#include "base/json.h"
#include "base/log.h"
#include "daemon/target.h"

namespace trimtab::daemon {

Result<std::string> Target::begin_undo(Step& step, const std::string& to, const std::string& actor,
                                       const std::string& reason) {
  if (undo_) return fail(Code::kConflict, "an undo to " + undo_->to.label() + " is under way");
  TRIMTAB_TRY(auto goal, history_.resolve_undo(to));
  if (trial_.open()) {
    TRIMTAB_CHECK_OK(trial_.command(
        step,
        {.verb = shadow::Verb::kAbort, .actor = actor, .reason = "undo: " + reason, .force = false},
        surroundings(step), {}));
  }
  TRIMTAB_TRY(const std::int64_t number, step.tx.next_number("undo"));
  undo_ = Undo{.to = std::move(goal),
               .actor = actor,
               .reason = reason,
               .key = "undo/" + settings_.name + "/" + std::to_string(number),
               .generation = 0};
  next_reconcile_ms_ = 0;
  return undo_->to.label();
}

Status Target::advance_undo(Step& step) {
  if (!undo_ || trial_.open()) return {};
  // A routing document never names what the fleet is not known to have.
  const bool driver_loads = settings_.serving.driver == config::ServingDriver::kVllm;
  const bool there = undo_->to.bare_base() || !driver_loads || serving_.everywhere(undo_->to.name);
  if (undo_->generation == 0) {
    if (!there) return {};
    TRIMTAB_TRY(undo_->generation, serving_.write(step, shadow::champion_only_arms(undo_->to), "",
                                                  "undo to " + undo_->to.label(), undo_->actor,
                                                  undo_->key, undo_->key));
    return {};
  }
  if (!serving_.applied(undo_->generation)) return {};
  const std::string from = history_.champion().label();
  history_.on_undo(undo_->to, step.now_ms);
  step.metrics.counter("trimtab_rollbacks_total", "Rollbacks, by reason", {"target", "reason"})
      .with({settings_.name, "undo"})
      .add();
  TRIMTAB_TRY(const auto seq,
              step.journal({.actor = undo_->actor,
                            .target = settings_.name,
                            .kind = "undo",
                            .subject = undo_->key,
                            .from = from,
                            .to = undo_->to.label(),
                            .generation = static_cast<std::int64_t>(undo_->generation),
                            .reason = "undo",
                            .message = from + " -> " + undo_->to.label() + ": " + undo_->reason}));
  (void)seq;
  log::warn("{}: undo: {} -> {} ({})", settings_.name, from, undo_->to.label(), undo_->reason);
  // What the reference knows of outputs is another champion's.
  monitor_.champion_changed("undo to " + undo_->to.label());
  armed_since_ms_ = 0;
  undo_.reset();
  next_reconcile_ms_ = 0;
  return {};
}

// Harm soon after a promotion: was the predecessor better? Asked beside the job, never instead.
Status Target::consider_reverse(Step& step, const OpenAlarm& alarm) {
  if (reverse_ || trial_.open()) return {};
  auto reverse = shadow::start_reverse_shadow(history_, settings_.name, alarm.id,
                                              settings_.promotion, step.now_ms);
  if (!reverse) return {};  // none is due: no promotion, too long ago, nothing kept
  TRIMTAB_TRY(reverse_scoring_,
              PairScoring::freeze(step, settings_, settings_.promotion.plan,
                                  shadow::reverse_name(alarm.id), alarm.onset_ms, alarm.at_ms));
  reverse_ = std::move(*reverse);
  TRIMTAB_TRY(const auto seq,
              step.journal({.target = settings_.name,
                            .kind = "reverse_shadow",
                            .subject = alarm.id,
                            .to = "started",
                            .reason = "harm_after_promotion",
                            .message = "was " + reverse_->predecessor.label() + " better than " +
                                       reverse_->champion.label() + "?"}));
  (void)seq;
  return {};
}

Status Target::advance_reverse(Step& step) {
  if (!reverse_) return {};
  const auto verdict = reverse_scoring_->verdict();
  const auto decision = shadow::decide(*reverse_, verdict, step.now_ms);
  const bool moot = trial_.open() || undo_ || !(history_.champion() == reverse_->champion);
  if (decision == shadow::ReverseVerdict::kWait && !moot) {
    return reverse_scoring_->order_pairs(
        step, shadow::reverse_name(reverse_->alarm_id),
        {.champion = reverse_->champion, .candidate = reverse_->predecessor}, 0);
  }
  const bool undo = decision == shadow::ReverseVerdict::kUndo && !moot;
  TRIMTAB_TRY(const auto seq,
              step.journal({.target = settings_.name,
                            .kind = "reverse_shadow",
                            .subject = reverse_->alarm_id,
                            .to = undo ? "undo" : "kept",
                            .evidence = dump_json(shadow::to_json(verdict)),
                            .reason = undo ? "predecessor_better" : "champion_kept",
                            .message = undo ? "the predecessor was better: undo"
                                            : "no proof that the predecessor was better"}));
  (void)seq;
  if (undo) {
    if (job_.open()) {
      step.job_cancels.push_back(job_.job()->id);
      TRIMTAB_CHECK_OK(job_.cancelled(step, "reverse shadow"));
    }
    const std::string to = reverse_->predecessor.bare_base() ? "base" : reverse_->predecessor.name;
    TRIMTAB_TRY(const auto label,
                begin_undo(step, to, "trimtab", "reverse shadow of " + reverse_->alarm_id));
    (void)label;
  }
  reverse_.reset();
  reverse_scoring_.reset();
  return {};
}

std::vector<shadow::AdapterRef> Target::desired_adapters() const {
  std::vector<shadow::AdapterRef> wanted = {history_.champion()};
  if (undo_) wanted.push_back(undo_->to);
  if (trial_.open() && trial_.trial()->state >= shadow::State::kLoading) {
    wanted.push_back(trial_.trial()->candidate);
  }
  if (const auto* routing = serving_.latest()) {
    for (const auto& arm : routing->arms) wanted.push_back(arm.adapter);
  }
  const auto most = static_cast<std::size_t>(settings_.serving.keep_loaded);
  for (const auto& kept : history_.kept()) {
    if (wanted.size() < most) wanted.push_back(kept);
  }
  std::vector<shadow::AdapterRef> unique;
  for (const auto& adapter : wanted) {
    const bool known = std::any_of(unique.begin(), unique.end(),
                                   [&](const auto& other) { return other.name == adapter.name; });
    if (!adapter.bare_base() && !known) unique.push_back(adapter);
  }
  return unique;
}

bool Target::names_adapter(const std::string& adapter, std::int64_t now_ms) const {
  const auto is = [&](const shadow::AdapterRef& one) { return one.name == adapter; };
  const auto& kept = history_.kept();
  if (is(history_.champion()) || std::any_of(kept.begin(), kept.end(), is)) return true;
  if (undo_ && is(undo_->to)) return true;
  if (job_.job() && job_.job()->adapter == adapter) return true;
  if (trial_.open() && (is(trial_.trial()->candidate) || is(trial_.trial()->champion))) return true;
  return serving_.in_use(adapter, now_ms);
}

Status Target::reconcile(Step& step) {
  if (settings_.serving.driver != config::ServingDriver::kVllm) return {};
  if (step.now_ms < next_reconcile_ms_) return {};
  next_reconcile_ms_ = step.now_ms + reconcile_interval_ms_;
  Json desired = Json::array();
  for (const auto& adapter : desired_adapters()) desired.push_back(shadow::to_json(adapter));
  step.orders.push_back({.key = "survey/" + settings_.name,
                         .kind = "survey",
                         .target = settings_.name,
                         .subject = "survey",
                         .payload = dump_json(Json{{"desired", std::move(desired)}})});
  return {};
}

Status Target::on_survey(Step& step, const EffectOutcome& outcome) {
  if (!outcome.ok) {
    log::warn("{}: the fleet could not be asked: {}", settings_.name, outcome.message);
    return {};
  }
  TRIMTAB_CHECK_OK(serving_.on_survey(outcome.payload));
  std::set<std::string> desired;
  for (const auto& adapter : desired_adapters()) {
    desired.insert(adapter.name);
    // A candidate that is being loaded for the first time is the trial's own business.
    const bool loading = trial_.open() && trial_.trial()->state == shadow::State::kLoading &&
                         trial_.trial()->candidate.name == adapter.name;
    if (loading) continue;
    if (serving_.impostor_somewhere(adapter.name)) {
      log::warn("{}: a server lists {} from another folder than ours: it is unloaded there",
                settings_.name, adapter.name);
      TRIMTAB_CHECK_OK(order_fleet_call(step, "evict_adapter", adapter));
    } else if (serving_.missing_somewhere(adapter.name)) {
      TRIMTAB_CHECK_OK(order_fleet_call(step, "load_adapter", adapter));
    }
  }
  for (const auto& name : serving_.loaded_of_ours()) {
    if (desired.contains(name) || serving_.in_use(name, step.now_ms)) continue;
    shadow::AdapterRef adapter;
    adapter.name = name;
    TRIMTAB_CHECK_OK(order_fleet_call(step, "unload_adapter", adapter));
  }
  return {};
}

Status Target::order_fleet_call(Step& step, const char* kind, const shadow::AdapterRef& adapter) {
  const std::string call = std::string(kind) + " " + adapter.name;
  if (!calls_in_flight_.insert(call).second) return {};
  return step.order({.key = "reconcile/" + settings_.name + "/" + std::to_string(++fleet_calls_),
                     .kind = kind,
                     .target = settings_.name,
                     .subject = "reconcile " + call,
                     .payload = dump_json(Json{{"adapter", shadow::to_json(adapter)}})});
}

}  // namespace trimtab::daemon
