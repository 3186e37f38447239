// Over 400 lines because a job from its examples to its adapter is one document with one writer.
#include "daemon/job_runner.h"

#include <algorithm>

#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/adapter_folder.h"
#include "daemon/complaint.h"
#include "daemon/stored_text.h"
#include "retrain/quarantine.h"
#include "retrain/replay.h"
#include "shadow/pools.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kPage = 2'000;
constexpr std::int64_t kStartRetryMs = 5'000;
constexpr const char* kBlob = "job";

std::vector<retrain::Message> messages_of(const Json& messages) {
  std::vector<retrain::Message> out;
  for (const auto& message : messages) {
    out.push_back({.role = json_or<std::string>(message, "role", "user"),
                   .content = json_or<std::string>(message, "content", "")});
  }
  return out;
}

// A label as training sees it; nullopt when it teaches nothing (a bare "wrong").
std::optional<retrain::Example> example_of(const config::TargetSettings& settings,
                                           const LabelRow& row, const StoredText& text) {
  retrain::Example example;
  const auto& feedback = row.feedback;
  const bool good = feedback.score && *feedback.score >= kGoodScore;
  if (!feedback.correction.empty() && feedback.correction != text.output) {
    example.kind = retrain::ExampleKind::kCorrection;
    example.completion = feedback.correction;
  } else if (good || !feedback.correction.empty()) {
    example.kind = retrain::ExampleKind::kGood;
    example.completion = text.output;
  } else {
    return std::nullopt;
  }
  example.record_id = row.record.id;
  example.unit = unit_of_ids(settings.unit_key, text.user_id, text.session_id, row.record.id);
  example.messages = messages_of(text.messages);
  example.tenant = row.record.tenant;
  example.source_id = feedback.source_id;
  example.selection = feedback.selection;
  example.ts_ms = row.record.ts_ms;
  example.feedback_ts_ms = feedback.ts_ms;
  return example;
}

std::vector<std::string> split_modules(const std::string& text) {
  std::vector<std::string> names;
  std::string name;
  for (const char c : text + ",") {
    if (c != ',') {
      if (c != ' ') name += c;
    } else if (!name.empty()) {
      names.push_back(std::exchange(name, {}));
    }
  }
  return names;
}

const char* schedule_name(config::LrSchedule schedule) {
  switch (schedule) {
    case config::LrSchedule::kLinear: return "linear";
    case config::LrSchedule::kConstant: return "constant";
    default: return "cosine";
  }
}

const char* curriculum_name(config::CurriculumOrder order) {
  switch (order) {
    case config::CurriculumOrder::kEasyFirst: return "easy_first";
    case config::CurriculumOrder::kHardFirst: return "hard_first";
    default: return "none";
  }
}

// retrain.search as the job's study; an adapter that goes on keeps its rank.
retrain::JobSearch search_of(const config::RetrainSettings& retrain) {
  const config::SearchSettings& s = retrain.search;
  const config::TrainingSettings& training = retrain.training;
  retrain::JobSearch search;
  switch (s.sampler) {
    case config::Sampler::kNone: return search;
    case config::Sampler::kRandom: search.sampler = "random"; break;
    case config::Sampler::kGrid: search.sampler = "grid"; break;
    case config::Sampler::kTpe: search.sampler = "tpe"; break;
  }
  if (s.asha) search.pruner = "asha";
  search.trials = s.trials;
  search.budget_s = static_cast<double>(s.budget_ms) / 1000.0;
  search.weight_forgetting = s.weight_forgetting;
  search.space.push_back(
      {.key = "optimizer.lr", .low = training.lr / 4, .high = training.lr * 4, .log = true});
  if (!s.ranks.empty() && training.init_from == config::InitFrom::kBase)
    search.space.push_back({.key = "lora.r", .values = s.ranks});
  if (!s.replay_shares.empty())
    search.space.push_back({.key = "data.replay_share", .values = s.replay_shares});
  return search;
}

const char* device_name(config::Device device) {
  switch (device) {
    case config::Device::kCpu: return "cpu";
    case config::Device::kCuda: return "cuda";
    default: return "auto";
  }
}

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

Status JobRunner::add_labels(Step& step, LabelQuery query, bool replay, TrainingMaterial& material,
                             retrain::ReplayReservoir* reservoir) const {
  query.target = settings_->name;
  query.eval = false;
  query.limit = kPage;
  for (;;) {
    TRIMTAB_TRY(const auto rows, step.store.labels(query));
    for (const auto& row : rows) {
      query.after_row = std::max(query.after_row, row.record.row);
      if (row.record.aborted || row.feedback.quarantined) continue;
      const auto text = read_stored_text(step.records, row.record.text);
      if (!text) continue;
      auto example = example_of(*settings_, row, *text);
      if (!example) continue;
      // Before the onset only what is known to be right is replayed: the labels of the random
      // sample and corrections alike.
      if (replay) {
        reservoir->offer(*example);
        if (example->kind == retrain::ExampleKind::kCorrection) {
          example->messages.clear();
          material.history.push_back(std::move(*example));
        }
      } else {
        material.inputs.examples.push_back(std::move(*example));
      }
    }
    if (static_cast<std::int64_t>(rows.size()) < kPage) return {};
  }
}

Result<TrainingMaterial> JobRunner::gather(Step& step, std::int64_t onset_ms,
                                           const std::vector<std::string>& released) const {
  const auto& data = settings_->retrain.data;
  TrainingMaterial material;
  material.inputs.now_ms = step.now_ms;
  material.inputs.seed = static_cast<std::uint64_t>(settings_->retrain.training.seed);
  LabelQuery fresh;
  fresh.since_ms = std::max(onset_ms, step.now_ms - data.max_age_ms);
  TRIMTAB_CHECK_OK(add_labels(step, fresh, false, material, nullptr));
  retrain::ReplayReservoir reservoir(data, material.inputs.seed);
  LabelQuery old;
  old.since_ms = step.now_ms - data.max_age_ms;
  old.until_ms = onset_ms;
  if (onset_ms > 0) TRIMTAB_CHECK_OK(add_labels(step, old, true, material, &reservoir));
  material.inputs.replay = reservoir.items();
  // Bursts are found over all corrections, those before the onset included: "usual" is history.
  material.history.insert(material.history.end(), material.inputs.examples.begin(),
                          material.inputs.examples.end());
  material.inputs.bursts =
      retrain::find_bursts(material.history, data, {released.begin(), released.end()});
  material.history.clear();
  for (const auto& example : material.inputs.examples) {
    if (retrain::in_burst(example, material.inputs.bursts)) ++material.quarantined;
  }
  if (!settings_->golden.empty()) {
    TRIMTAB_TRY(const auto golden, shadow::read_golden(settings_->golden));
    for (const auto& item : golden) {
      TRIMTAB_TRY(const Json messages, parse_json(item.input_json));
      material.inputs.protected_texts.push_back({retrain::prompt_text(messages_of(messages))});
    }
  }
  LabelQuery holdout;
  holdout.target = settings_->name;
  holdout.eval = true;
  holdout.selection = "random";
  holdout.until_ms = std::max<std::int64_t>(onset_ms, 1);
  holdout.limit = settings_->promotion.pool_max_records;
  TRIMTAB_TRY(const auto protected_rows, step.store.labels(holdout));
  for (const auto& row : protected_rows) {
    const auto text = read_stored_text(step.records, row.record.text);
    if (text) {
      material.inputs.protected_texts.push_back(
          {retrain::prompt_text(messages_of(text->messages))});
    }
  }
  return material;
}

retrain::JobSpec JobRunner::spec(const shadow::AdapterRef& champion,
                                 const retrain::DataFiles& files) const {
  const auto& training = settings_->retrain.training;
  const auto& limits = settings_->retrain.limits;
  const fs::path folder = state_dir_ / "jobs" / job_->id;
  retrain::JobSpec spec;
  spec.id = job_->id;
  spec.target = settings_->name;
  spec.base = settings_->base;
  spec.out = (folder / "out").string();
  if (training.init_from == config::InitFrom::kChampion) spec.init_adapter = champion.uri;
  spec.device = device_name(limits.device);
  spec.data.chat = files.train.string();
  spec.data.eval = files.eval.string();
  spec.steps = training.max_steps;
  spec.epochs = training.epochs;
  spec.lora = {.r = training.lora.r,
               .lora_alpha = training.lora.lora_alpha,
               .lora_dropout = training.lora.lora_dropout,
               .target_modules = split_modules(training.lora.target_modules),
               .use_rslora = training.lora.use_rslora,
               .rank_pattern = {},
               .alpha_pattern = {}};
  spec.optimizer.lr = training.lr;
  spec.optimizer.weight_decay = training.weight_decay;
  spec.optimizer.clip_norm = training.clip_norm;
  spec.schedule.name = schedule_name(training.schedule);
  spec.schedule.warmup_share = training.warmup_share;
  spec.kl.weight = training.kl.weight;
  const bool to_champion = training.kl.reference == config::InitFrom::kChampion;
  spec.kl.reference = to_champion && !spec.init_adapter.empty() ? "init_adapter" : "base";
  spec.data.keep = files.keep.string();
  spec.optimizer.loraplus_lr_ratio = training.loraplus_lr_ratio;
  spec.filters.outlier_z = training.outlier_z;
  spec.filters.typos = training.typos;
  spec.curriculum.order = curriculum_name(training.curriculum);
  if (training.gradient_surgery == config::GradientSurgery::kPcgrad)
    spec.gradient_surgery = "pcgrad";
  spec.mlflow.url = training.mlflow_url;
  spec.mlflow.experiment = training.mlflow_experiment;
  if (!spec.data.eval.empty()) spec.search = search_of(settings_->retrain);
  spec.batch_sequences = training.batch_sequences;
  spec.batch_tokens = training.batch_tokens;
  spec.max_length = training.max_length;
  spec.eval_every = training.eval_every;
  spec.early_stop_patience = training.early_stop_patience;
  spec.checkpoint_every_steps = limits.checkpoint_every_steps;
  spec.checkpoint_every_s = static_cast<double>(limits.checkpoint_every_ms) / 1000.0;
  spec.threads = limits.threads;
  spec.seed = training.seed;
  spec.max_seconds = static_cast<double>(limits.max_duration_ms) / 1000.0;
  spec.memory_limit_bytes = limits.memory_bytes;
  spec.provenance = {{"job", job_->id},
                     {"alarm", job_->alarm},
                     {"trigger", job_->trigger},
                     {"manifest_sha256", files.manifest_sha256},
                     {"champion", champion.label()}};
  return spec;
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
  TRIMTAB_CHECK_OK(write_atomic(folder / "job.yaml", retrain::job_yaml(spec(champion, files))));
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
