// The target as people see it: JSON for REST (docs/openapi.yaml) and gauges. Reads, never writes.
#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "daemon/promotion_view.h"
#include "daemon/target.h"
#include "drift/report.h"

namespace trimtab::daemon {
namespace {

Json name_or_null(const shadow::AdapterRef& adapter) {
  return adapter.bare_base() ? Json() : Json(adapter.name);
}

// Evidence over threshold on the scale people read: 0 is the alarm, -1 a tenth of it.
Json log10_ratio(const std::string& state, double evidence, double threshold) {
  if (state != "armed" && state != "latched") return {};
  if (!(threshold > 0) || !(evidence > 0)) return {};
  return std::log10(evidence / threshold);
}

}  // namespace

Json Target::drift_view() const {
  Json view = drift::to_json(monitor_.status());
  view["reports"] = Json::array();
  for (const auto& report : monitor_.reports()) view["reports"].push_back(drift::to_json(report));
  return view;
}

Json Target::signals_view() const {
  const auto status = monitor_.status();
  Json signals = Json::array();
  for (const auto& signal : status.signals) {
    signals.push_back(
        {{"name", signal.name},
         {"segment", signal.segment},
         {"state", signal.state},
         {"reason", signal.reason},
         {"log10_ratio", log10_ratio(signal.state, signal.evidence, signal.threshold)},
         {"evidence", signal.evidence},
         {"threshold", signal.threshold},
         {"theta", signal.theta},
         {"reference_size", signal.reference_size},
         {"events", signal.events},
         {"history", signal.history}});
  }
  Json harm = Json::array();
  for (const auto& metric : status.harm) {
    harm.push_back({{"metric", metric.metric},
                    {"state", metric.state},
                    {"log10_ratio", log10_ratio(metric.state, metric.evidence, metric.threshold)},
                    {"rate", metric.recent_rate},
                    {"baseline", metric.baseline},
                    {"tolerance", metric.tolerance},
                    {"reference_size", metric.reference_size},
                    {"reference_rate", metric.reference_rate},
                    {"outcomes", metric.outcomes}});
  }
  return {{"signals", signals}, {"harm", harm}};
}

Json Target::view(std::int64_t now_ms) const {
  const auto status = monitor_.status();
  Json routers = Json::array();
  for (const auto& [instance, router] : serving_.routers()) {
    routers.push_back({{"instance", instance},
                       {"generation", router.generation},
                       {"seen_ms", router.seen_ms},
                       {"live", serving_.is_live(router, now_ms)}});
  }
  Json endpoints = Json::array();
  for (const auto& [name, endpoint] : serving_.endpoints()) {
    Json adapters = Json::array();
    for (const auto& [adapter, root] : endpoint.adapters) adapters.push_back(adapter);
    endpoints.push_back({{"name", name},
                         {"ok", endpoint.ok},
                         {"message", endpoint.message},
                         {"adapters", adapters}});
  }
  Json kept = Json::array();
  for (const auto& adapter : history_.kept()) kept.push_back(name_or_null(adapter));
  std::string waits_for = waits_for_;
  if (trial_.open()) {
    waits_for =
        shadow::waits_for(*trial_.trial(), trial_.evidence(now_ms, serving_, history_), now_ms);
  }
  const char* paused = automatic_paused_ ? "operator" : history_.jobs_paused() ? "undo" : "";
  return {{"name", settings_.name},
          {"base", settings_.base},
          {"unit_key", config::unit_key_name(settings_.unit_key)},
          {"drift",
           {{"state", std::string(drift::monitor_state_name(status.state))},
            {"provisional", status.provisional},
            {"collected", status.collected},
            {"reference_size", status.reference_size},
            {"armed_in_s", status.armed_in_s ? Json(*status.armed_in_s) : Json()},
            {"reason", status.reason},
            {"seen", status.seen},
            {"counted", status.counted},
            {"alarms", status.alarms},
            {"harm_latched", monitor_.harm_latched()}}},
          {"champion", name_or_null(history_.champion())},
          {"champion_sha256", history_.champion().sha256},
          {"kept", kept},
          {"generation", serving_.generation()},
          {"routers", routers},
          {"endpoints", endpoints},
          {"holdout", holdout_},
          {"rereferenced_ms", rereferenced_ms_},
          {"open_trial", trial_.open() ? trial_.trial()->id : ""},
          {"open_job", job_.open() ? job_.job()->id : ""},
          {"open_alarms", alarms_.size()},
          {"queued_alarm", queued_ ? queued_->id : ""},
          {"undo", undo_ ? undo_->to.label() : ""},
          {"reverse_shadow", reverse_ ? reverse_->alarm_id : ""},
          {"paused", paused},
          {"waits_for", waits_for},
          {"cooldown_until_ms", history_.cooldown_until_ms()},
          {"quarantined", quarantined_},
          {"quarantine", retrain::to_json(bursts_)},
          {"tombstones", history_.tombstones()},
          {"error_budget",
           {{"spent", history_.alpha_spent(settings_.promotion.budget_window_ms, now_ms)},
            {"budget", settings_.promotion.error_budget}}}};
}

void Target::count_holdout(StateQueries& state, std::int64_t now_ms) {
  if (now_ms < next_holdout_ms_) return;
  // For people, and linear in what is counted: the more there is, the less often.
  constexpr std::int64_t kEveryMs = 2'000;
  next_holdout_ms_ = now_ms + std::max(kEveryMs, holdout_);
  LabelQuery query;
  query.target = settings_.name;
  query.since_ms = rereferenced_ms_;
  query.eval = true;
  query.selection = "random";
  query.narrow = true;
  if (const auto count = state.count_labels(query)) holdout_ = *count;
}

void Target::publish_metrics(Metrics& metrics, std::int64_t now_ms) const {
  const auto status = monitor_.status();
  auto& evidence = metrics.gauge("trimtab_drift_evidence",
                                 "Evidence over its alarm threshold, as a ratio (1 = alarm)",
                                 {"target", "signal"});
  std::int64_t reference_ms = 0;
  for (const auto& signal : status.signals) {
    if (signal.segment != "all") continue;
    const double ratio = signal.threshold > 0 ? signal.evidence / signal.threshold : 0.0;
    evidence.with({settings_.name, signal.name}).set(ratio);
    reference_ms = std::max(reference_ms, signal.reference_ts_ms);
  }
  for (const auto& metric : status.harm) {
    const double ratio = metric.threshold > 0 ? metric.evidence / metric.threshold : 0.0;
    evidence.with({settings_.name, "harm:" + metric.metric}).set(ratio);
  }
  if (reference_ms > 0) {
    metrics.gauge("trimtab_reference_age_seconds", "Age of the drift reference", {"target"})
        .with({settings_.name})
        .set(static_cast<double>(now_ms - reference_ms) / 1000.0);
  }
  auto& state =
      metrics.gauge("trimtab_target_state", "1 for the state that the target's monitor is in",
                    {"target", "state"});
  for (const auto one : {drift::MonitorState::kCollecting, drift::MonitorState::kCalibrating,
                         drift::MonitorState::kArmed, drift::MonitorState::kRefused}) {
    state.with({settings_.name, std::string(drift::monitor_state_name(one))})
        .set(status.state == one ? 1 : 0);
  }
  const bool held_back = automatic_paused_ || history_.jobs_paused();
  state.with({settings_.name, "paused"}).set(held_back ? 1 : 0);
  if (job_.job() && !job_.job()->heartbeat.empty()) {
    if (const auto beat = parse_json(job_.job()->heartbeat)) {
      metrics.gauge("trimtab_train_loss", "Loss of the training job's last step", {"target"})
          .with({settings_.name})
          .set(json_or<double>(*beat, "loss", 0.0));
    }
  }
  metrics.gauge("trimtab_routing_generation", "Newest routing generation", {"target"})
      .with({settings_.name})
      .set(static_cast<double>(serving_.generation()));
  metrics
      .gauge("trimtab_routing_ack_lag_seconds",
             "How long the slowest live router owes an acknowledgement", {"target"})
      .with({settings_.name})
      .set(static_cast<double>(serving_.acks(now_ms).oldest_unacked_ms) / 1000.0);
  if (!trial_.trial()) return;
  const auto seen = trial_.evidence(now_ms, serving_, history_);
  auto& log_e = metrics.gauge("trimtab_evidence_log",
                              "Natural log of the e-value of the open trial, by metric and side",
                              {"target", "metric", "side"});
  auto& bound = metrics.gauge("trimtab_confidence_bound",
                              "Bounds of the running mean of D, candidate minus champion",
                              {"target", "metric", "bound"});
  const auto publish = [&](const std::string& prefix, const shadow::EvidenceRow& row) {
    const std::string metric = prefix + row.metric;
    log_e.with({settings_.name, metric, "superior"}).set(row.log_e_superior);
    log_e.with({settings_.name, metric, "non_inferior"}).set(row.log_e_non_inferior);
    log_e.with({settings_.name, metric, "harm"}).set(row.log_e_harm);
    bound.with({settings_.name, metric, "lower"}).set(row.mean_lower);
    bound.with({settings_.name, metric, "upper"}).set(row.mean_upper);
  };
  if (seen.shadow) {
    for (const auto& row : seen.shadow->strata) publish("shadow:", row);
  }
  const auto& live = seen.bake ? seen.bake : seen.live;
  if (live) {
    for (const auto& row : live->metrics) publish("live:", row);
  }
}

}  // namespace trimtab::daemon
