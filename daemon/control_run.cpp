// ControlLoop's other half: commands, the thread's loop, snapshots, upkeep.
#include <algorithm>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/control_loop.h"
#include "daemon/erase.h"
#include "daemon/promotion_view.h"
#include "daemon/retention.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kAnswersKept = 256;
constexpr std::size_t kOutcomesAStep = 256, kCommandsAStep = 64;
constexpr std::int64_t kIdleMs = 10;  // how long an idle turn waits for records
constexpr std::int64_t kPublishMs = 200, kSignalsMs = 1'000;
constexpr std::int64_t kMaintainMs = 60'000;
constexpr std::int64_t kDiskMs = 2'000;
constexpr std::int64_t kIoRetryMs = 1'000;
constexpr std::int64_t kSubjectsKept = 2'000;  // decision rows: newest so many subjects

std::string error_name(int status) { return std::to_string(status); }

}  // namespace

// The same key again is answered as it was the first time, without doing it again.
CommandAnswer ControlLoop::once(Step& step, const CommandRequest& command) {
  if (command.idempotency_key.empty()) return apply_command(step, command);
  if (const auto known = answers_.find(command.idempotency_key); known != answers_.end()) {
    const auto saved = parse_json(known->second);
    if (json_or<std::string>(*saved, "request", "") != command.fingerprint) {
      return answer_problem(422, "the Idempotency-Key '" + command.idempotency_key +
                                     "' belongs to another request; use a fresh one");
    }
    return {.status = json_or(*saved, "status", 202),
            .body = json_or<std::string>(*saved, "body", "{}"),
            .etag = json_or<std::string>(*saved, "etag", "")};
  }
  auto answer = apply_command(step, command);
  if (answer.status < 500) {
    answers_[command.idempotency_key] = dump_json(Json{{"request", command.fingerprint},
                                                       {"status", answer.status},
                                                       {"body", answer.body},
                                                       {"etag", answer.etag}});
    answer_order_.push_back(command.idempotency_key);
    if (answer_order_.size() > kAnswersKept) {
      answers_.erase(answer_order_.front());
      answer_order_.erase(answer_order_.begin());
    }
    answers_dirty_ = true;
  }
  return answer;
}

Result<Target*> ControlLoop::target_of(const CommandRequest& command) {
  if (!command.target.empty()) {
    const auto it = targets_.find(command.target);
    if (it != targets_.end()) return it->second.get();
    std::string names;
    for (const auto& [name, target] : targets_) names += (names.empty() ? "" : ", ") + name;
    return fail(Code::kNotFound, "unknown target '" + command.target + "'; there are: " + names);
  }
  if (!command.subject.empty()) {
    for (const char* kind : {"trial", "job"}) {
      if (auto document = parts_.store.document(kind, command.subject)) {
        const auto it = targets_.find(document->target);
        if (it != targets_.end()) return it->second.get();
      }
    }
    return fail(Code::kNotFound, "there is no " + command.subject);
  }
  if (targets_.size() == 1) return targets_.begin()->second.get();
  return fail(Code::kInvalid, "say which target: there are several");
}

CommandAnswer ControlLoop::apply_command(Step& step, const CommandRequest& command) {
  if (command.verb == "offsets_reset") return reset_offset(step, command);
  if (command.verb == "reload") return reload(step, command);
  if (command.verb == "log_level") return note_log_level(step, command);
  auto target = target_of(command);
  if (!target) return answer_error(target.error());
  auto answer = (*target)->on_command(step, command);
  if (answer.status >= 400) {
    log::info("{} by {} refused ({}): {}", command.verb, command.actor, error_name(answer.status),
              answer.body);
  }
  return answer;
}

CommandAnswer ControlLoop::reset_offset(Step& step, const CommandRequest& command) {
  const auto body = parse_json(command.body);
  if (!body) return answer_error(body.error());
  const TopicPartition where{.topic = json_or<std::string>(*body, "topic", ""),
                             .partition = json_or<std::int32_t>(*body, "partition", 0)};
  const auto next = json_or<std::int64_t>(*body, "next", -1);
  if (next < 0 || where.topic.empty()) {
    return answer_problem(422, "offsets reset needs topic, partition and an offset >= 0");
  }
  if (auto reset = step.tx.reset_offset(where, next); !reset) return answer_error(reset.error());
  const auto seq = step.journal({.actor = command.actor,
                                 .kind = "command",
                                 .subject = where.topic + "-" + std::to_string(where.partition),
                                 .to = std::to_string(next),
                                 .reason = "offsets_reset",
                                 .message = "offset moved by an operator: " + command.reason,
                                 .payload = command.body});
  if (!seq) return answer_error(seq.error());
  parts_.book.set(where, next);
  return {.status = 202,
          .body = dump_json(
              Json{{"topic", where.topic}, {"partition", where.partition}, {"next", next}}),
          .etag = {}};
}

CommandAnswer ControlLoop::reload(Step& step, const CommandRequest& command) {
  std::shared_ptr<const config::Settings> settings;
  {
    std::lock_guard lock(offered_mutex_);
    settings = std::move(offered_);
    if (settings) config_hash_ = offered_hash_;
  }
  if (!settings) return answer_problem(409, "no configuration was offered");
  settings_ = std::move(settings);
  for (const auto& target : settings_->targets) {
    const auto it = targets_.find(target.name);
    if (it != targets_.end()) it->second->set_settings(target);
  }
  const auto seq = step.journal({.actor = command.actor,
                                 .kind = "config",
                                 .subject = "config",
                                 .config_hash = config_hash_,
                                 .reason = "reloaded",
                                 .message = "configuration reloaded"});
  if (!seq) return answer_error(seq.error());
  return {.status = 200, .body = dump_json(Json{{"config_hash", config_hash_}}), .etag = {}};
}

// The level is the process's, not the state's: control only writes down who changed it.
CommandAnswer ControlLoop::note_log_level(Step& step, const CommandRequest& command) {
  const auto seq = step.journal({.actor = command.actor,
                                 .idempotency_key = command.idempotency_key,
                                 .kind = "command",
                                 .subject = "log-level",
                                 .to = command.subject,
                                 .reason = "log_level",
                                 .message = command.reason});
  if (!seq) return answer_error(seq.error());
  return {.status = 200, .body = dump_json(Json{{"level", command.subject}}), .etag = {}};
}

void ControlLoop::run_outside(PendingCommand& command) {
  const auto forget = [this](const std::set<std::string>& ids,
                             const std::set<std::uint64_t>& units) -> Status {
    TRIMTAB_TRY(auto tx, parts_.store.begin());
    for (auto& [name, target] : targets_) {
      target->forget(ids, units);
      TRIMTAB_CHECK_OK(target->save(tx));
    }
    return tx.commit();
  };
  command.answer.set_value(erase_person(command.request, *settings_, parts_.store, parts_.records,
                                        parts_.clock.now_ms(), forget));
}

// For people (the page, readiness) and for the alert.
void ControlLoop::set_paused(const char* reason, std::string message) {
  paused_[reason] = std::move(message);
  parts_.metrics
      .gauge("trimtab_paused", "1 while nothing is taken in: disk, state (cannot be written)",
             {"reason"})
      .with({reason})
      .set(1);
}

void ControlLoop::clear_paused(const char* reason) {
  paused_.erase(reason);
  parts_.metrics
      .gauge("trimtab_paused", "1 while nothing is taken in: disk, state (cannot be written)",
             {"reason"})
      .with({reason})
      .set(0);
}

void ControlLoop::hold_until_written(const Error& error, std::int64_t now_ms,
                                     const std::function<void(bool)>& hold) {
  if (!std::exchange(held_, true)) hold(true);
  set_paused("state", "state cannot be written: " + error.message);
  publish(now_ms);
}

void ControlLoop::written_again(const std::function<void(bool)>& hold) {
  if (!std::exchange(held_, false)) return;
  clear_paused("state");
  log::warn("state can be written again: ingest goes on");
  hold(disk_low_);
}

void ControlLoop::check_disk(std::int64_t mono_ms, const std::function<void(bool)>& hold) {
  if (mono_ms < next_disk_ms_) return;
  next_disk_ms_ = mono_ms + kDiskMs;
  const auto free = free_bytes(settings_->state.dir);
  const bool low = !free || *free < static_cast<std::uint64_t>(settings_->state.min_free_bytes);
  if (low == disk_low_) return;
  disk_low_ = low;
  if (low) {
    set_paused("disk", "disk nearly full below " + settings_->state.dir + ": ingest is paused");
    log::warn("{}", paused_["disk"]);
  } else {
    clear_paused("disk");
    log::warn("disk has room again: ingest goes on");
  }
  hold(low || held_);
}

Status ControlLoop::maintain(std::int64_t now_ms) {
  if (now_ms < next_maintain_ms_) return {};
  next_maintain_ms_ = now_ms + kMaintainMs;
  TRIMTAB_TRY(auto tx, parts_.store.begin());
  TRIMTAB_TRY(const auto dropped, parts_.records.retain(tx, now_ms));
  TRIMTAB_TRY(const auto trimmed,
              tx.trim({.events_before_ms = now_ms - settings_->state.journal_retention_ms,
                       .decisions_kept_subjects = kSubjectsKept,
                       .intents_before_ms = now_ms - settings_->state.journal_retention_ms,
                       .unjoined_feedback_before_ms = now_ms - settings_->ingest.pending_ms}));
  (void)trimmed;
  for (const auto& [name, target] : targets_) {
    TRIMTAB_TRY(const auto doomed,
                beyond_retention(parts_.store, name, settings_->state, [&](const auto& adapter) {
                  return target->names_adapter(adapter, now_ms);
                }));
    TRIMTAB_CHECK_OK(remove_doomed(tx, settings_->state.dir, name, doomed, now_ms));
  }
  TRIMTAB_CHECK_OK(tx.commit());
  if (!dropped.empty()) return parts_.records.sweep();
  return {};
}

void ControlLoop::publish(std::int64_t now_ms) {
  auto next = std::make_shared<Snapshot>();
  next->at_ms = now_ms;
  for (const auto& [reason, message] : paused_) {
    next->paused += (next->paused.empty() ? "" : "; ") + message;
  }
  next->config_hash = config_hash_;
  next->counts = dump_json(Json{{"records",
                                 {{"consumed", consumed_},
                                  {"accepted", accepted_},
                                  {"duplicates", duplicates_},
                                  {"dead_lettered", dead_},
                                  {"feedback", feedback_},
                                  {"joined", joined_}}},
                                {"store",
                                 {{"bytes", parts_.records.bytes()},
                                  {"skipped", parts_.records.skipped()},
                                  {"pending_feedback", join_.waiting()}}},
                                {"last_commit_ms", last_commit_ms_}});
  const bool signals = now_ms >= next_signals_ms_;
  if (signals) next_signals_ms_ = now_ms + kSignalsMs;
  for (const auto& [name, target] : targets_) {
    target->count_holdout(parts_.store, now_ms);
    next->targets[name] = dump_json(target->view(now_ms));
    if (signals || !last_snapshot_) {
      next->drift[name] = dump_json(target->drift_view());
      next->signals[name] = dump_json(target->signals_view());
      target->publish_metrics(parts_.metrics, now_ms);
    } else {
      next->drift[name] = last_snapshot_->drift.at(name);
      next->signals[name] = last_snapshot_->signals.at(name);
    }
    if (const auto& trial = target->trial().trial()) {
      const auto evidence = target->evidence(now_ms);
      next->promotions[trial->id] = dump_json(promotion_json(*trial, evidence, now_ms));
      next->evidence[trial->id] = dump_json(shadow::to_json(evidence));
    }
    if (const auto& job = target->job().job(); job && !job->heartbeat.empty()) {
      next->heartbeats[job->id] = job->heartbeat;
    }
  }
  last_snapshot_ = next;
  parts_.board.publish(std::move(next));
}

namespace {

// Moves whole batches over until `limit` records wait.
void take_batches(BatchQueue& batches, std::size_t limit, ControlInputs& inputs,
                  std::size_t& waiting_records) {
  while (waiting_records < limit) {
    auto batch = batches.try_pop();
    if (!batch) return;
    waiting_records += (*batch)->records.size();
    inputs.batches.push_back(std::move(*batch));
  }
}

// What was taken but not committed is read again after the restart; HTTP callers are told.
void turn_away(ControlInputs& inputs) {
  for (auto& batch : inputs.batches) {
    if (batch->on_committed) {
      batch->on_committed(fail(Code::kUnavailable, "the daemon is stopping"));
    }
  }
  for (auto& command : inputs.commands) {
    command->answer.set_value(answer_problem(503, "the daemon is stopping"));
  }
}

}  // namespace

Status ControlLoop::run(std::stop_token stop, BatchQueue& batches, CommandQueue& commands,
                        BoundedQueue<EffectOutcome>& outcomes,
                        const std::function<void(bool)>& hold) {
  ControlInputs inputs;
  std::size_t waiting_records = 0;
  std::int64_t last_step_mono_ms = 0;
  const auto& control = settings_->control;
  while (!stop.stop_requested()) {
    ++turns_;
    const std::int64_t now_mono_ms = parts_.clock.mono_ms();
    check_disk(now_mono_ms, hold);
    take_batches(batches, static_cast<std::size_t>(control.step_observations), inputs,
                 waiting_records);
    while (inputs.commands.size() < kCommandsAStep) {
      auto command = commands.try_pop();
      if (!command) break;
      if ((*command)->request.verb == "erase") {
        run_outside(**command);
      } else {
        inputs.commands.push_back(std::move(*command));
      }
    }
    while (inputs.outcomes.size() < kOutcomesAStep) {
      auto outcome = outcomes.try_pop();
      if (!outcome) break;
      inputs.outcomes.push_back(std::move(*outcome));
    }
    for (auto& event : parts_.jobs.poll()) inputs.jobs.push_back(std::move(event));
    const std::int64_t since_ms = now_mono_ms - last_step_mono_ms;
    const bool urgent = !inputs.commands.empty() || !inputs.outcomes.empty() ||
                        !inputs.jobs.empty() ||
                        waiting_records >= static_cast<std::size_t>(control.step_observations);
    const bool due = !inputs.batches.empty() && since_ms >= settings_->state.commit_interval_ms;
    if (urgent || due || since_ms >= control.tick_ms) {
      inputs.now_ms = parts_.clock.now_ms();
      last_step_mono_ms = now_mono_ms;
      const auto done = step(inputs);
      if (!done && done.error().code != Code::kIo) return done;
      if (!done) {
        hold_until_written(done.error(), inputs.now_ms, hold);
        parts_.clock.sleep_ms(kIoRetryMs, stop);
        continue;
      }
      waiting_records = 0;
      written_again(hold);
      if (auto kept = maintain(inputs.now_ms); !kept) {
        log::warn("upkeep: {}", kept.error().message);
      }
      if (inputs.now_ms >= next_publish_ms_ || urgent) {
        next_publish_ms_ = inputs.now_ms + kPublishMs;
        publish(inputs.now_ms);
      }
    } else if (inputs.batches.empty()) {
      if (auto batch = batches.pop(std::chrono::milliseconds(kIdleMs), stop)) {
        waiting_records += (*batch)->records.size();
        inputs.batches.push_back(std::move(*batch));
      }
    } else {
      parts_.clock.sleep_ms(kIdleMs, stop);
    }
  }
  turn_away(inputs);
  return {};
}

}  // namespace trimtab::daemon
