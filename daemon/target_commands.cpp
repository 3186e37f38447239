// What operators may ask of a target, its trial and its job. Every accepted command is journaled
// with its actor and its key; a refused one changes nothing.
#include <algorithm>

#include "base/json.h"
#include "daemon/promotion_view.h"
#include "daemon/target.h"

namespace trimtab::daemon {
namespace {

Json body_of(const CommandRequest& command) {
  auto body = parse_json(command.body.empty() ? "{}" : command.body);
  return body && body->is_object() ? *body : Json::object();
}

CommandAnswer accepted(const Json& body) { return {.status = 202, .body = dump_json(body)}; }

// 409 with the id of what is in the way, for programs: {"trial": "trial-7"}.
CommandAnswer in_the_way(const char* what, const std::string& id, const std::string& hint) {
  auto answer = answer_problem(409, id + hint);
  Json problem = parse_json(answer.body).value();
  problem[what] = id;
  answer.body = dump_json(problem);
  return answer;
}

}  // namespace

CommandAnswer Target::on_command(Step& step, const CommandRequest& command) {
  if (command.verb == "register") return on_register(step, command);
  if (command.verb == "retrain") return on_retrain(step, command);
  if (command.verb == "trial") return on_trial_verb(step, command);
  return on_target_verb(step, command);
}

Status Target::journal_command(Step& step, const CommandRequest& command,
                               const std::string& subject, const std::string& message) {
  TRIMTAB_TRY(const auto seq, step.journal({.actor = command.actor,
                                            .idempotency_key = command.idempotency_key,
                                            .target = settings_.name,
                                            .kind = "command",
                                            .subject = subject,
                                            .reason = command.verb,
                                            .message = message,
                                            .payload = command.body}));
  (void)seq;
  return {};
}

CommandAnswer Target::on_retrain(Step& step, const CommandRequest& command) {
  if (job_.open()) {
    return in_the_way("job", job_.job()->id, " is running; cancel it or wait for its end");
  }
  if (trial_.open() && !may_supersede()) {
    return in_the_way("trial", trial_.trial()->id, " is open; wait for its end or abort it");
  }
  manual_ = retrain::ManualRequest{.actor = command.actor, .reason = command.reason};
  next_policy_ms_ = 0;
  counted_labels_ = -1;
  if (auto done = journal_command(step, command, settings_.name, "retrain: " + command.reason);
      !done) {
    return answer_error(done.error());
  }
  if (auto considered = consider_job(step); !considered) return answer_error(considered.error());
  if (job_.open()) return accepted({{"job", job_.job()->id}, {"state", job_.job()->state}});
  return accepted({{"requested", true}, {"waits_for", waits_for_}});
}

CommandAnswer Target::on_register(Step& step, const CommandRequest& command) {
  const Json body = body_of(command);
  auto adapter = shadow::parse_adapter_ref(body.value("adapter_ref", Json::object()));
  if (!adapter) return answer_error(adapter.error());
  if (trial_.open()) {
    return in_the_way("trial", trial_.trial()->id, " is open; wait for its end or abort it");
  }
  if (undo_) return answer_problem(409, "an undo is under way; try again in a moment");
  auto plan = shadow::parse_plan(settings_.promotion.plan, body.value("plan", Json::object()));
  if (!plan) return answer_problem(422, plan.error().message);
  shadow::NewTrial wanted;
  wanted.candidate = *adapter;
  wanted.origin = shadow::Origin::kManual;
  wanted.actor = command.actor;
  wanted.onset_ms = rereferenced_ms_;
  wanted.plan = *plan;
  auto trial = start_trial(step, std::move(wanted), step.now_ms);
  if (!trial) return answer_error(trial.error());
  const Json data = {{"adapter", shadow::to_json(*adapter)}, {"registered_by", command.actor}};
  if (auto put = step.tx.put({.kind = "adapter",
                              .id = adapter->name,
                              .target = settings_.name,
                              .state = "registered",
                              .data = dump_json(data),
                              .created_ms = step.now_ms,
                              .updated_ms = step.now_ms});
      !put) {
    return answer_error(put.error());
  }
  if (auto done = journal_command(step, command, *trial, "registered " + adapter->name); !done) {
    return answer_error(done.error());
  }
  auto answer = accepted(promotion_json(
      *trial_.trial(), trial_.evidence(step.now_ms, serving_, history_), step.now_ms));
  answer.etag = std::to_string(trial_.trial()->seq);
  return answer;
}

CommandAnswer Target::on_trial_verb(Step& step, const CommandRequest& command) {
  const Json body = body_of(command);
  const auto verb = shadow::parse_verb(json_or<std::string>(body, "verb", ""));
  if (!verb) return answer_error(verb.error());
  if (!trial_.trial() || trial_.trial()->id != command.subject || !trial_.open()) {
    return answer_problem(409, command.subject + " has ended; only an open trial takes commands");
  }
  if (command.if_match && *command.if_match != trial_.trial()->seq) {
    return answer_problem(412, "the trial has moved on: its ETag is \"" +
                                   std::to_string(trial_.trial()->seq) + "\"; look again");
  }
  const auto done = trial_.command(
      step,
      {.verb = *verb, .actor = command.actor, .reason = command.reason, .force = command.force},
      surroundings(step), command.idempotency_key);
  if (!done) return answer_error(done.error());
  if (!trial_.open()) {
    if (auto ended = trial_ended(step); !ended) return answer_error(ended.error());
  }
  auto answer = accepted(promotion_json(
      *trial_.trial(), trial_.evidence(step.now_ms, serving_, history_), step.now_ms));
  answer.etag = std::to_string(trial_.trial()->seq);
  return answer;
}

// By burst, by source, or (neither named) everything that is held back now. A burst goes on under
// its id, so what still comes in it is released, too.
Result<Json> Target::release_quarantine(Step& step, const std::string& burst,
                                        const std::string& source_id) {
  std::vector<std::string> released;
  if (!burst.empty()) released.push_back(burst);
  for (const auto& one : bursts_) {
    const bool all = burst.empty() && source_id.empty();
    if ((all || one.source == source_id) && one.id != burst) released.push_back(one.id);
  }
  for (const auto& id : released) {
    const auto known = std::find(released_bursts_.begin(), released_bursts_.end(), id);
    if (known == released_bursts_.end()) released_bursts_.push_back(id);
  }
  TRIMTAB_TRY(const auto rows, step.tx.release_quarantine(settings_.name, source_id));
  counted_labels_ = -1;
  burst_hint_.look_again();
  next_policy_ms_ = next_look_ms_ = 0;
  return Json{{"released", rows}, {"bursts", released}};
}

CommandAnswer Target::on_target_verb(Step& step, const CommandRequest& command) {
  const Json body = body_of(command);
  Json answer = Json::object();
  std::string message = command.verb + (command.reason.empty() ? "" : ": " + command.reason);
  if (command.verb == "rollback") {
    const auto to = json_or<std::string>(body, "to", "previous");
    auto goal = begin_undo(step, to, command.actor, command.reason);
    if (!goal) return answer_error(goal.error());
    answer = {{"to", *goal}, {"generation", serving_.generation()}};
    message = "undo to " + *goal;
  } else if (command.verb == "resume_target") {
    history_.resume_jobs();
    automatic_paused_ = false;
  } else if (command.verb == "pause_target") {
    automatic_paused_ = true;
  } else if (command.verb == "rereference") {
    if (auto done = rereference(step, "asked for by " + command.actor); !done) {
      return answer_error(done.error());
    }
  } else if (command.verb == "release_quarantine") {
    auto released = release_quarantine(step, json_or<std::string>(body, "burst", ""),
                                       json_or<std::string>(body, "source_id", ""));
    if (!released) return answer_error(released.error());
    answer = *released;
  } else if (command.verb == "lift_tombstone") {
    if (auto lifted = history_.lift_tombstone(json_or<std::string>(body, "digest", "")); !lifted) {
      return answer_error(lifted.error());
    }
  } else if (command.verb == "cancel_job") {
    if (!job_.open() || job_.job()->id != command.subject) {
      return answer_problem(409, command.subject + " is not running");
    }
    step.job_cancels.push_back(command.subject);
    if (auto done = job_.cancelled(step, command.actor); !done) return answer_error(done.error());
    answer = to_json(*job_.job());
  } else if (command.verb == "ack") {
    serving_.acknowledge(json_or<std::string>(body, "instance", ""),
                         json_or<std::uint64_t>(body, "generation", 0), step.now_ms);
    return accepted({{"generation", serving_.generation()}});  // too many to journal
  } else {
    return answer_problem(404, "unknown command '" + command.verb + "'");
  }
  const std::string subject = command.subject.empty() ? settings_.name : command.subject;
  if (auto done = journal_command(step, command, subject, message); !done) {
    return answer_error(done.error());
  }
  return accepted(answer);
}

}  // namespace trimtab::daemon
