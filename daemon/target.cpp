#include "daemon/target.h"

#include <algorithm>

#include "base/json.h"
#include "daemon/complaint.h"
#include "daemon/record_outcomes.h"
#include "daemon/stored_text.h"
#include "retrain/quarantine.h"
#include "shadow/pools.h"

namespace trimtab::daemon {
namespace {

constexpr std::string_view kMonitorPrefix = "monitor/";
constexpr std::string_view kUnitsPrefix = "unit_history/";

std::optional<double> as_double(const std::optional<std::int64_t>& value) {
  if (!value) return std::nullopt;
  return static_cast<double>(*value);
}

shadow::LiveRecord live_record(const InferenceRecord& record, const std::string& unit) {
  shadow::LiveRecord live;
  live.id = record.id;
  live.unit = unit;
  live.ts_ms = record.ts_ms;
  live.attested = record.served != Served::kUnattested && !record.arm.empty() && record.generation;
  live.adapter = record.adapter;
  live.arm = record.arm;
  live.experiment = record.experiment;
  live.generation = static_cast<std::uint64_t>(record.generation.value_or(0));
  live.probe = record.is_probe();
  live.error = is_error(record);
  live.refusal = is_refusal(record);
  live.latency_s = record.latency_s;
  live.tokens_out = as_double(record.tok.out);
  if (record.tok.in && record.tok.out) {
    live.tokens_all = static_cast<double>(*record.tok.in + *record.tok.out);
  }
  return live;
}

Json alarm_json(const OpenAlarm& alarm) {
  return {{"id", alarm.id},         {"kind", alarm.kind},
          {"signal", alarm.signal}, {"ts_ms", alarm.ts_ms},
          {"at_ms", alarm.at_ms},   {"onset_ms", alarm.onset_ms},
          {"tries", alarm.tries},   {"examples_at_last_try", alarm.examples_at_last_try}};
}

OpenAlarm alarm_of(const Json& saved) {
  return {.id = saved.at("id").get<std::string>(),
          .kind = saved.at("kind").get<std::string>(),
          .signal = saved.at("signal").get<std::string>(),
          .ts_ms = saved.at("ts_ms").get<std::int64_t>(),
          .at_ms = saved.at("at_ms").get<std::int64_t>(),
          .onset_ms = saved.at("onset_ms").get<std::int64_t>(),
          .tries = saved.at("tries").get<std::int64_t>(),
          .examples_at_last_try = saved.at("examples_at_last_try").get<std::int64_t>()};
}

}  // namespace

Result<std::unique_ptr<Target>> Target::create(const config::TargetSettings& settings,
                                               const config::Settings& all) {
  TRIMTAB_TRY(auto monitor, drift::Monitor::create(settings.drift));
  return std::unique_ptr<Target>(new Target(settings, all, std::move(monitor)));
}

Target::Target(const config::TargetSettings& settings, const config::Settings& all,
               drift::Monitor monitor)
    : settings_(settings),
      state_settings_(all.state),
      reconcile_interval_ms_(all.control.reconcile_interval_ms),
      monitor_(std::move(monitor)),
      serving_(settings_),
      job_(settings_, state_settings_),
      trial_(settings_) {}

void Target::set_settings(const config::TargetSettings& settings) {
  settings_ = settings;
  serving_.set_settings(settings_);
}

std::string Target::unit_of(const InferenceRecord& record) const {
  return unit_of_ids(settings_.unit_key, record.user_id, record.session_id, record.id);
}

bool Target::is_evaluation_unit(const std::string& unit) const {
  return shadow::is_evaluation_unit(unit, settings_.eval_share);
}

Status Target::on_record(Step& step, const InferenceRecord& record, const RecordRow& row,
                         const std::string& unit, drift::Observation* observed) {
  ++records_;
  const bool by_candidate = row.arm == shadow::kArmCandidate;
  if (observed != nullptr) {
    observed->offset = records_;
    // What somebody else than the champion answered says nothing about the champion's output; while
    // a candidate bakes that is almost everything.
    observed->candidate = row.attested && row.adapter != history_.champion().name;
    watched_.emplace_back().event = observed;
    watched_order_.push_back(step.monitor_inputs++);
  }
  auto live = live_record(record, unit);
  if (trial_.open()) live.past = unit_history_.past(row.unit_hash);
  if (!by_candidate && row.arm != shadow::kArmHoldback && !*live.error) {
    if (live.latency_s) champion_numbers_.latency_s.add(*live.latency_s);
    if (live.tokens_out) champion_numbers_.tokens_out.add(*live.tokens_out);
    if (live.tokens_all) champion_numbers_.tokens_all.add(*live.tokens_all);
  }
  if (trial_.open() && row.attested) {
    step.metrics
        .counter("trimtab_ab_arm_requests_total", "Attested records while a trial is open, by arm",
                 {"target", "arm"})
        .with({settings_.name, row.arm})
        .add();
  }
  trial_.on_record(live, serving_.documents());
  if (!by_candidate && !live.probe && row.unit_hash != 0) {
    unit_history_.on_request(row.unit_hash, *live.error, *live.refusal);
  }
  if (!by_candidate) {
    outcome(step, "error", row.id, row.ts_ms, *live.error ? 1.0 : 0.0);
    outcome(step, "refusal", row.id, row.ts_ms, *live.refusal ? 1.0 : 0.0);
  }
  return {};
}

Status Target::on_joined(Step& step, const Joined& joined) {
  if (joined.replaces) return {};
  const auto& feedback = joined.feedback;
  shadow::LiveFeedback live;
  live.record_id = joined.record.id;
  live.ts_ms = feedback.ts_ms;
  live.complaint = is_complaint(feedback);
  if (feedback.selection == "random") live.label = feedback.score;
  trial_.on_feedback(live);
  if (!feedback.correction.empty() && feedback.selection != "random") {
    burst_hint_.note(feedback.ts_ms, settings_.retrain.data);
  }
  if (joined.record.arm == shadow::kArmCandidate) return {};
  if (live.complaint) unit_history_.on_complaint(joined.record.unit_hash);
  if (live.label) unit_history_.on_label(joined.record.unit_hash, *live.label);
  if (const auto said = outcome_of(feedback)) {
    outcome(step, said->metric, joined.record.id, joined.record.ts_ms, said->value);
  }
  return {};
}

Status Target::on_effect(Step& step, const EffectOutcome& outcome) {
  if (outcome.kind == "survey") return on_survey(step, outcome);
  if (outcome.kind == "write_routing") TRIMTAB_CHECK_OK(serving_.on_written(step, outcome));
  if (outcome.subject.starts_with("reconcile")) {
    const auto space = outcome.subject.find(' ');
    calls_in_flight_.erase(outcome.subject.substr(space + 1));
    next_reconcile_ms_ = std::min(next_reconcile_ms_, step.now_ms + 1'000);
    return step.tx.finish_intent(outcome.intent,
                                 outcome.ok ? IntentState::kApplied : IntentState::kFailed,
                                 outcome.message, step.now_ms);
  }
  if (reverse_ && reverse_scoring_) {
    TRIMTAB_TRY(const bool ours, reverse_scoring_->on_scored(step, outcome));
    if (ours) return {};
  }
  return trial_.on_effect(step, outcome);
}

Status Target::advance(Step& step) {
  monitor_.tick(step.now_ms);
  if (monitor_.state() == drift::MonitorState::kArmed && armed_since_ms_ == 0) {
    armed_since_ms_ = step.now_ms;
  }
  TRIMTAB_CHECK_OK(feed_outcomes(step));
  TRIMTAB_CHECK_OK(advance_reverse(step));
  TRIMTAB_CHECK_OK(advance_trial(step));
  TRIMTAB_CHECK_OK(advance_undo(step));
  TRIMTAB_CHECK_OK(close_recovered(step));
  TRIMTAB_CHECK_OK(advance_jobs(step));
  TRIMTAB_CHECK_OK(serving_.renew(step));
  return reconcile(step);
}

Status Target::boot(Step& step) {
  if (serving_.latest() == nullptr) {
    TRIMTAB_TRY(const auto generation,
                serving_.write(step, shadow::champion_only_arms(history_.champion()), "",
                               "first document", "trimtab", "boot/" + settings_.name, "boot"));
    (void)generation;
  } else {
    TRIMTAB_CHECK_OK(serving_.publish_again(step));
  }
  TRIMTAB_CHECK_OK(trial_.resume(step, surroundings(step)));
  next_reconcile_ms_ = 0;
  return reconcile(step);
}

Json Target::save_core() const {
  Json alarms = Json::array();
  for (const auto& alarm : alarms_) alarms.push_back(alarm_json(alarm));
  Json undo;
  if (undo_) {
    undo = {{"to", shadow::to_json(undo_->to)},
            {"actor", undo_->actor},
            {"reason", undo_->reason},
            {"key", undo_->key},
            {"generation", undo_->generation}};
  }
  Json manual;
  if (manual_) manual = {{"actor", manual_->actor}, {"reason", manual_->reason}};
  return {{"history", history_.save()},
          {"records", records_},
          {"rereferenced_ms", rereferenced_ms_},
          {"alarms", alarms},
          {"answered", answered_},
          {"queued", queued_ ? alarm_json(*queued_) : Json()},
          {"manual", manual},
          {"automatic_starts_ms", automatic_starts_ms_},
          {"released_bursts", released_bursts_},
          {"last_job_start_ms", last_job_start_ms_},
          {"last_end_ms", last_end_ms_},
          {"armed_since_ms", armed_since_ms_},
          {"automatic_paused", automatic_paused_},
          {"job_waits_for_trial", job_waits_for_trial_},
          {"undo", undo},
          {"reverse", reverse_ ? shadow::to_json(*reverse_) : Json()},
          {"fleet_calls", fleet_calls_},
          {"quarantined", quarantined_},
          {"bursts", retrain::to_json(bursts_)},
          {"burst_hint", burst_hint_.save()},
          {"next_look_ms", next_look_ms_},
          // Saved, for a restart must not count at another moment.
          {"counted_labels", counted_labels_},
          {"counted_examples", counted_examples_},
          {"outcomes_cursor_ms", outcomes_.cursor_ms()},
          {"latency", champion_numbers_.latency_s.save()},
          {"tokens_out", champion_numbers_.tokens_out.save()},
          {"tokens_all", champion_numbers_.tokens_all.save()},
          {"waits_for", waits_for_}};
}

Status Target::restore_core(const Json& saved) {
  TRIMTAB_TRY(history_, shadow::TargetHistory::restore(saved.at("history")));
  records_ = saved.at("records").get<std::uint64_t>();
  rereferenced_ms_ = saved.at("rereferenced_ms").get<std::int64_t>();
  for (const auto& alarm : saved.at("alarms")) alarms_.push_back(alarm_of(alarm));
  answered_ = saved.at("answered").get<bool>();
  if (!saved.at("queued").is_null()) queued_ = alarm_of(saved.at("queued"));
  if (const auto& manual = saved.at("manual"); !manual.is_null()) {
    manual_ = retrain::ManualRequest{.actor = manual.at("actor").get<std::string>(),
                                     .reason = manual.at("reason").get<std::string>()};
  }
  automatic_starts_ms_ = saved.at("automatic_starts_ms").get<std::vector<std::int64_t>>();
  released_bursts_ = saved.at("released_bursts").get<std::vector<std::string>>();
  last_job_start_ms_ = saved.at("last_job_start_ms").get<std::int64_t>();
  last_end_ms_ = saved.at("last_end_ms").get<std::int64_t>();
  armed_since_ms_ = saved.at("armed_since_ms").get<std::int64_t>();
  automatic_paused_ = saved.at("automatic_paused").get<bool>();
  job_waits_for_trial_ = saved.at("job_waits_for_trial").get<bool>();
  if (const auto& undo = saved.at("undo"); !undo.is_null()) {
    TRIMTAB_TRY(auto to, shadow::parse_adapter_ref(undo.at("to")));
    undo_ = Undo{.to = std::move(to),
                 .actor = undo.at("actor").get<std::string>(),
                 .reason = undo.at("reason").get<std::string>(),
                 .key = undo.at("key").get<std::string>(),
                 .generation = undo.at("generation").get<std::uint64_t>()};
  }
  if (!saved.at("reverse").is_null()) {
    TRIMTAB_TRY(reverse_, shadow::parse_reverse_shadow(saved.at("reverse")));
  }
  fleet_calls_ = saved.at("fleet_calls").get<std::uint64_t>();
  quarantined_ = saved.at("quarantined").get<std::int64_t>();
  TRIMTAB_TRY(bursts_, retrain::parse_bursts(saved.value("bursts", Json::array())));
  if (const auto hint = saved.find("burst_hint"); hint != saved.end()) {
    TRIMTAB_TRY(burst_hint_, retrain::BurstHint::restore(*hint));
  }
  next_look_ms_ = json_or<std::int64_t>(saved, "next_look_ms", 0);
  counted_labels_ = json_or<std::int64_t>(saved, "counted_labels", -1);
  counted_examples_ = json_or<std::int64_t>(saved, "counted_examples", 0);
  outcomes_.restore(saved.at("outcomes_cursor_ms").get<std::int64_t>());
  champion_numbers_.latency_s.restore(saved.at("latency"));
  champion_numbers_.tokens_out.restore(saved.at("tokens_out"));
  champion_numbers_.tokens_all.restore(saved.at("tokens_all"));
  waits_for_ = saved.at("waits_for").get<std::string>();
  return {};
}

Status Target::save(Transaction& tx) {
  std::string core = dump_json(save_core());
  if (core != saved_core_) {
    TRIMTAB_CHECK_OK(tx.put_blob(settings_.name, "core", core));
    saved_core_ = std::move(core);
  }
  std::string serving = dump_json(serving_.save());
  if (serving != saved_serving_) {
    TRIMTAB_CHECK_OK(tx.put_blob(settings_.name, "serving", serving));
    saved_serving_ = std::move(serving);
  }
  for (const auto& piece : monitor_.save_changed()) {
    const std::string key = std::string(kMonitorPrefix) + piece.name;
    if (piece.bytes.empty()) {
      TRIMTAB_CHECK_OK(tx.remove_blob(settings_.name, key));
    } else {
      TRIMTAB_CHECK_OK(tx.put_blob(settings_.name, key, piece.bytes));
    }
  }
  for (const auto& piece : unit_history_.save_changed()) {
    TRIMTAB_CHECK_OK(
        tx.put_blob(settings_.name, std::string(kUnitsPrefix) + piece.name, piece.bytes));
  }
  if (reverse_scoring_ && reverse_scoring_->dirty()) {
    TRIMTAB_CHECK_OK(
        tx.put_blob(settings_.name, "reverse.scoring", dump_json(reverse_scoring_->save())));
  }
  TRIMTAB_CHECK_OK(job_.save(tx));
  return trial_.save(tx, settings_.name);
}

Status Target::load(StateQueries& state) {
  TRIMTAB_TRY(auto fresh, drift::Monitor::create(settings_.drift));
  monitor_ = std::move(fresh);
  watched_.clear();
  watched_order_.clear();
  history_ = shadow::TargetHistory();
  serving_ = ServingState(settings_);
  alarms_.clear();
  queued_.reset();
  manual_.reset();
  bursts_.clear();
  burst_hint_ = {};
  next_look_ms_ = 0;
  undo_.reset();
  reverse_.reset();
  reverse_scoring_.reset();
  calls_in_flight_.clear();
  next_reconcile_ms_ = next_policy_ms_ = 0;
  counted_labels_ = -1;
  counted_examples_ = 0;
  TRIMTAB_CHECK_OK(job_.load(state));
  TRIMTAB_CHECK_OK(trial_.load(state, settings_.name));
  TRIMTAB_TRY(const auto keys, state.blob_keys(settings_.name));
  std::vector<drift::StatePiece> pieces;
  std::vector<shadow::UnitHistory::Piece> units;
  for (const auto& key : keys) {
    if (key.starts_with(kUnitsPrefix)) {
      TRIMTAB_TRY(auto bytes, state.blob(settings_.name, key));
      units.push_back({key.substr(kUnitsPrefix.size()), std::move(bytes)});
    }
    if (!key.starts_with(kMonitorPrefix)) continue;
    TRIMTAB_TRY(auto bytes, state.blob(settings_.name, key));
    pieces.push_back({.name = key.substr(kMonitorPrefix.size()), .bytes = std::move(bytes)});
  }
  if (!pieces.empty()) TRIMTAB_CHECK_OK(monitor_.restore_pieces(pieces));
  TRIMTAB_CHECK_OK(unit_history_.restore(units));
  auto core = state.blob(settings_.name, "core");
  if (!core && core.error().code == Code::kNotFound) return {};
  if (!core) return tl::unexpected<Error>(core.error());
  TRIMTAB_TRY(const Json saved, parse_json(*core));
  TRIMTAB_CHECK_OK(restore_core(saved));
  saved_core_ = *core;
  TRIMTAB_TRY(saved_serving_, state.blob(settings_.name, "serving"));
  TRIMTAB_TRY(const Json serving, parse_json(saved_serving_));
  TRIMTAB_CHECK_OK(serving_.restore(serving));
  if (reverse_) {
    TRIMTAB_TRY(const auto text, state.blob(settings_.name, "reverse.scoring"));
    TRIMTAB_TRY(const Json document, parse_json(text));
    TRIMTAB_TRY(reverse_scoring_,
                PairScoring::restore(settings_, settings_.promotion.plan,
                                     shadow::reverse_name(reverse_->alarm_id), document));
  }
  return {};
}

}  // namespace trimtab::daemon
