#include "daemon/job_runner.h"

#include <algorithm>

#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/adapter_folder.h"
#include "daemon/job_spec.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kStartRetryMs = 5'000;
constexpr const char* kBlob = "job";

}  // namespace

std::string adapter_name(const std::string& target, std::int64_t ms, const std::string& sha256) {
  std::string stamp = format_rfc3339(ms).substr(0, 19);
  std::erase_if(stamp, [](char c) { return c == '-' || c == ':'; });
  return target + "-" + stamp + "Z-" + sha256.substr(0, 8);
}

Json to_json(const Job& job) {
  const auto object = [](const std::string& text) {
    auto parsed = parse_json(text.empty() ? "{}" : text);
    return parsed ? *parsed : Json::object();
  };
  return {{"id", job.id},
          {"state", job.state},
          {"trigger", job.trigger},
          {"alarm", job.alarm},
          {"actor", job.actor},
          {"reason", job.reason},
          {"message", job.message},
          {"adapter", job.adapter},
          {"trial", job.trial},
          {"onset_ms", job.onset_ms},
          {"created_ms", job.created_ms},
          {"started_ms", job.started_ms},
          {"ended_ms", job.ended_ms},
          {"event_ms", job.event_ms},
          {"examples", job.examples},
          {"restarts", job.restarts},
          {"next_start_ms", job.next_start_ms},
          {"automatic", job.automatic},
          {"counts", object(job.counts)},
          {"result", object(job.result)}};
}

Result<Job> parse_job_state(const Json& saved) {
  Job job;
  const auto text = [&](const char* key) { return json_or<std::string>(saved, key, ""); };
  const auto number = [&](const char* key) { return json_or<std::int64_t>(saved, key, 0); };
  job.id = text("id");
  if (job.id.empty()) return fail(Code::kCorrupt, "a saved job has no id");
  job.state = text("state");
  job.trigger = text("trigger");
  job.alarm = text("alarm");
  job.actor = text("actor");
  job.reason = text("reason");
  job.message = text("message");
  job.adapter = text("adapter");
  job.trial = text("trial");
  job.onset_ms = number("onset_ms");
  job.created_ms = number("created_ms");
  job.started_ms = number("started_ms");
  job.ended_ms = number("ended_ms");
  job.event_ms = number("event_ms");
  job.examples = number("examples");
  job.restarts = number("restarts");
  job.next_start_ms = number("next_start_ms");
  job.automatic = json_or(saved, "automatic", true);
  job.counts = dump_json(saved.value("counts", Json::object()));
  job.result = dump_json(saved.value("result", Json::object()));
  return job;
}

JobRunner::JobRunner(const config::TargetSettings& settings, const config::StateSettings& state)
    : settings_(&settings), state_dir_(state.dir) {}

bool JobRunner::open() const {
  return job_ && (job_->state == "saved" || job_->state == "running");
}

Status JobRunner::start(Step& step, const retrain::Decision& decision,
                        const TrainingMaterial& material, std::int64_t onset_ms,
                        std::int64_t event_ms, const shadow::AdapterRef& champion,
                        const std::string& actor) {
  TRIMTAB_TRY(const auto curated, retrain::curate(material.inputs, settings_->retrain.data));
  TRIMTAB_TRY(const std::int64_t number, step.tx.next_number("job"));
  Job job;
  job.id = "job-" + std::to_string(number);
  job.trigger = retrain::trigger_name(decision.trigger);
  job.automatic = decision.trigger != config::Trigger::kManual;
  job.alarm = decision.alarm_id;
  job.actor = actor.empty() ? "trimtab" : actor;
  job.onset_ms = onset_ms;
  job.event_ms = event_ms;
  job.created_ms = step.now_ms;
  const fs::path folder = state_dir_ / "jobs" / job.id;
  // A crash before the commit leaves a folder under a number that is given again: start clean.
  TRIMTAB_CHECK_OK(remove_tree(folder));
  TRIMTAB_CHECK_OK(make_folders(folder));
  TRIMTAB_TRY(const auto files, retrain::write_job_data(folder, curated, settings_->retrain.data,
                                                        material.inputs.seed));
  job.examples = files.examples;
  job.counts = dump_json(Json{{"considered", curated.considered},
                              {"replayed", curated.replayed},
                              {"dropped", curated.dropped},
                              {"eval_examples", files.eval_examples},
                              {"manifest_sha256", files.manifest_sha256}});
  job_ = std::move(job);
  ended_ = false;
  const retrain::JobSpec spec = job_spec(*settings_, folder, *job_, champion, files);
  TRIMTAB_CHECK_OK(write_atomic(folder / "job.yaml", retrain::job_yaml(spec)));
  TRIMTAB_TRY(const auto seq,
              step.journal({.actor = job_->actor,
                            .target = settings_->name,
                            .kind = "job",
                            .subject = job_->id,
                            .to = "saved",
                            .evidence = dump_json(Json{{"counts", parse_json(job_->counts).value()},
                                                       {"onset_ms", onset_ms}}),
                            .reason = decision.reason,
                            .message = decision.message}));
  (void)seq;
  log::info("{}: {}", job_->id, decision.message);
  return put_document(step);
}

Status JobRunner::put_document(Step& step) const {
  return step.tx.put({.kind = "job",
                      .id = job_->id,
                      .target = settings_->name,
                      .state = job_->state,
                      .data = dump_json(to_json(*job_)),
                      .created_ms = job_->created_ms,
                      .updated_ms = step.now_ms});
}

bool JobRunner::wants_start(std::int64_t now_ms) const {
  return job_ && job_->state == "saved" && now_ms >= job_->next_start_ms;
}

void JobRunner::start_failed(Step& step, const Error& error) {
  if (!open()) return;
  job_->message = error.message;
  job_->next_start_ms = step.now_ms + kStartRetryMs;
  log::warn("{}: not started: {}", job_->id, error.message);
}

Status JobRunner::on_event(Step& step, const retrain::JobEvent& event) {
  if (!open() || event.job != job_->id) return {};
  switch (event.kind) {
    case retrain::JobEvent::Kind::kStarted: {
      if (job_->state == "running") return {};
      job_->state = "running";
      job_->started_ms = step.now_ms;
      job_->message.clear();
      TRIMTAB_TRY(
          const auto seq,
          step.journal({.target = settings_->name,
                        .kind = "job",
                        .subject = job_->id,
                        .from = "saved",
                        .to = "running",
                        .reason = event.adopted ? "adopted" : "started",
                        .message = event.adopted ? "adopted a worker that outlived the daemon"
                                                 : "worker started"}));
      (void)seq;
      return put_document(step);
    }
    case retrain::JobEvent::Kind::kProgress:
      job_->heartbeat = retrain::heartbeat_json(event.heartbeat);
      return {};
    case retrain::JobEvent::Kind::kExited: break;
  }
  job_->result = retrain::result_json(event.result);
  const auto& limits = settings_->retrain.limits;
  if (event.result.status == "interrupted" && event.resumable &&
      job_->restarts < limits.max_restarts) {
    ++job_->restarts;
    job_->state = "saved";
    job_->message = "interrupted, goes on from its checkpoint: " + event.result.message;
    job_->next_start_ms = step.now_ms + kStartRetryMs;
    return put_document(step);
  }
  job_->reason = event.result.reason;
  job_->message = event.result.message;
  return ended(step, event.result.status);
}

Status JobRunner::ended(Step& step, const std::string& state) {
  const std::string from = job_->state;
  job_->state = state;
  job_->ended_ms = step.now_ms;
  ended_ = true;
  TRIMTAB_TRY(const auto seq, step.journal({.target = settings_->name,
                                            .kind = "job",
                                            .subject = job_->id,
                                            .from = from,
                                            .to = state,
                                            .evidence = job_->result,
                                            .reason = job_->reason.empty() ? state : job_->reason,
                                            .message = job_->message}));
  (void)seq;
  log::info("{} {}{}{}", job_->id, state, job_->reason.empty() ? "" : " " + job_->reason,
            job_->message.empty() ? "" : ": " + job_->message);
  step.metrics.counter("trimtab_retrains_total", "Training jobs that ended", {"target", "outcome"})
      .with({settings_->name, job_->reason.empty() ? state : job_->reason})
      .add();
  const auto result = parse_json(job_->result);
  if (result && result->is_object()) {
    step.metrics
        .gauge("trimtab_retrain_duration_seconds", "How long the last training job took",
               {"target"})
        .with({settings_->name})
        .set(json_or<double>(*result, "seconds", 0.0));
    step.metrics.counter("trimtab_train_tokens_total", "Tokens trained on", {"target"})
        .with({settings_->name})
        .add(json_or<double>(*result, "tokens", 0.0));
  }
  return put_document(step);
}

Status JobRunner::cancelled(Step& step, const std::string& actor) {
  if (!open()) return fail(Code::kConflict, "the job has ended already");
  job_->reason = "cancelled";
  job_->message = "cancelled by " + (actor.empty() ? std::string("trimtab") : actor);
  return ended(step, "cancelled");
}

bool JobRunner::take_ended() { return std::exchange(ended_, false); }

Result<shadow::AdapterRef> JobRunner::adopt_adapter(Step& step) {
  TRIMTAB_TRY(const auto result, retrain::parse_result(job_->result));
  shadow::AdapterRef adapter;
  adapter.name = adapter_name(settings_->name, job_->created_ms, result.adapter_sha256);
  adapter.sha256 = result.adapter_sha256;
  adapter.base_revision = result.base_sha256;
  adapter.tokenizer_digest = result.tokenizer_sha256;
  const fs::path to = state_dir_ / "adapters" / adapter.name;
  adapter.uri = to.string();
  TRIMTAB_CHECK_OK(place_adapter(result.adapter_dir, to));
  TRIMTAB_CHECK_OK(remove_tree(result.adapter_dir));
  job_->adapter = adapter.name;
  TRIMTAB_CHECK_OK(step.tx.put(
      {.kind = "adapter",
       .id = adapter.name,
       .target = settings_->name,
       .state = "made",
       .data = dump_json(Json{{"adapter", shadow::to_json(adapter)}, {"job", job_->id}}),
       .created_ms = step.now_ms,
       .updated_ms = step.now_ms}));
  TRIMTAB_CHECK_OK(put_document(step));
  return adapter;
}

Status JobRunner::set_trial(Step& step, const std::string& trial, const std::string& message) {
  job_->trial = trial;
  if (!message.empty()) job_->message = message;
  return put_document(step);
}

Status JobRunner::save(Transaction& tx) {
  if (!job_) return {};
  Json document = to_json(*job_);
  document["pending_end"] = ended_;
  std::string text = dump_json(document);
  if (text == saved_) return {};
  TRIMTAB_CHECK_OK(tx.put_blob(settings_->name, kBlob, text));
  saved_ = std::move(text);
  return {};
}

Status JobRunner::load(StateQueries& state) {
  job_.reset();
  ended_ = false;
  saved_.clear();
  auto text = state.blob(settings_->name, kBlob);
  if (!text && text.error().code == Code::kNotFound) return {};
  if (!text) return tl::unexpected<Error>(text.error());
  TRIMTAB_TRY(const Json saved, parse_json(*text));
  TRIMTAB_TRY(job_, parse_job_state(saved));
  ended_ = json_or(saved, "pending_end", false);
  saved_ = *text;
  return {};
}

}  // namespace trimtab::daemon
