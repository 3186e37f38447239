#include "tests/fault/control_scenario.h"

#include <map>

#include "base/files.h"
#include "base/json.h"
#include "daemon/control_loop.h"
#include "daemon/kill_point.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;
constexpr int kRecordsAStep = 20;
constexpr const char* kTopic = "records";

std::shared_ptr<const config::Settings> scenario_settings(const fs::path& folder) {
  auto settings = std::make_shared<config::Settings>();
  settings->state.dir = folder.string();
  settings->ingest.allowed_lateness_ms = 1'000;
  config::TargetSettings target;
  target.name = "bot";
  target.base = "base";
  target.unit_key = config::UnitKey::kSession;
  target.drift.reference_size = 500;
  target.retrain.minimum_examples = 5;
  target.retrain.data.near_duplicate = 1.0;
  target.retrain.data.max_age_ms = 1'000'000'000;
  target.serving.driver = config::ServingDriver::kFile;
  auto& plan = target.promotion.plan;
  plan.ladder = {0.25, 0.5};
  plan.canary_min_dwell_ms = 2'000;
  plan.canary_min_units = 2;
  plan.ab_min_dwell_ms = 2'000;
  plan.label_wait_ms = 0;  // from the label delays seen so far
  plan.bake_ms = 2'000;
  plan.bake_min_units = 2;
  plan.margin = 0.5;
  plan.margin_live = 0.5;
  config::share_common_fields(target);
  settings->targets.push_back(target);
  return settings;
}

// Answers every order from its content alone, so that asking twice is asking once.
class ScriptedWorld final : public EffectPerformer {
 public:
  explicit ScriptedWorld(Scenario which) : which_(which) {}
  Result<std::string> perform(const EffectOrder& order, std::stop_token) override {
    if (order.kind == "verify_files") {
      return dump_json(Json{{"verdict", {{"passed", true}, {"failure", ""}, {"message", "ok"}}}});
    }
    if (order.kind != "score") return "{}";
    if (which_ == Scenario::kSupersede && order.subject == "trial-2") {
      return fail(Code::kUnavailable, "the scorer is down");
    }
    std::string lines;
    for (const auto& item : order.items) {
      const Json side = {{"adapter", "a"},
                         {"greedy", item.text},
                         {"match", true},
                         {"mean_logprob", -0.1},
                         {"tokens", 2}};
      lines += dump_json(Json{{"id", item.id}, {"results", {side, side}}}) + "\n";
    }
    return lines;
  }

 private:
  Scenario which_;
};

// Performs at once; the outcome is an input of the next step.
class InOrder final : public EffectRunner {
 public:
  explicit InOrder(Scenario which) : world_(which) {}
  void order(EffectOrder order) override { outcomes.push_back(perform_order(world_, order, {})); }
  std::vector<EffectOutcome> outcomes;

 private:
  ScriptedWorld world_;
};

// A worker that is done as soon as it was started.
class InstantJobs final : public JobPort {
 public:
  explicit InstantJobs(fs::path folder) : folder_(std::move(folder)) {}
  Status ensure(const std::string& job, const config::LimitSettings&) override {
    kill_point("job.before_start");
    const fs::path out = folder_ / job / "out";
    TRIMTAB_CHECK_OK(make_folders(out));
    TRIMTAB_CHECK_OK(write_atomic(out / "adapter_model.safetensors", job));
    kill_point("job.started");
    retrain::JobEvent event;
    event.job = job;
    event.kind = retrain::JobEvent::Kind::kStarted;
    events_[job] = {event};
    event.kind = retrain::JobEvent::Kind::kExited;
    event.result.status = "ok";
    event.result.adapter_dir = out.string();
    event.result.adapter_sha256 = std::string(64, 'b');
    event.result.examples = 7;
    events_[job].push_back(event);
    return {};
  }
  void cancel(const std::string&) override {}
  std::vector<retrain::JobEvent> poll() override {
    std::vector<retrain::JobEvent> all;
    for (auto& [job, events] : events_) all.insert(all.end(), events.begin(), events.end());
    events_.clear();
    return all;
  }

 private:
  fs::path folder_;
  std::map<std::string, std::vector<retrain::JobEvent>> events_;
};

Json record_of(int step, int i, const ControlLoop& loop) {
  const std::string unit = "s" + std::to_string((step * kRecordsAStep + i) / 2);
  const auto* routing = loop.targets().at("bot")->serving().latest();
  const auto& arm = routing->assign(unit);
  return {{"id", "r" + std::to_string(step) + "-" + std::to_string(i)},
          {"ts", kStart + step * 1'000 + i * 40},
          {"target", "bot"},
          {"session_id", unit},
          {"input", "where is parcel " + std::to_string(step * kRecordsAStep + i)},
          {"output", "tracking"},
          {"adapter", arm.adapter.bare_base() ? Json() : Json(arm.adapter.name)},
          {"arm", arm.role},
          {"generation", routing->generation},
          {"experiment", routing->experiment},
          {"latency_s", 0.1},
          {"tok", {{"in", 5}, {"out", 1}}},
          {"status", "ok"}};
}

Json feedback_of(int step, int i) {
  const std::string id = "r" + std::to_string(step) + "-" + std::to_string(i);
  return {{"kind", "feedback"}, {"feedback_id", "f" + id},
          {"id", id},           {"name", "label"},
          {"score", 1},         {"selection", "random"},
          {"propensity", 0.5},  {"ts", kStart + step * 1'000 + 900}};
}

std::unique_ptr<RecordBatch> batch_of(int step, RecordCodec& codec, const ControlLoop& loop,
                                      BatchPool& pool) {
  auto batch = pool.take();
  batch->topics = {kTopic};
  const std::int64_t first = static_cast<std::int64_t>(step) * 2 * kRecordsAStep;
  for (int i = 0; i < 2 * kRecordsAStep; ++i) {
    const Json message = i % 2 == 0 ? record_of(step, i / 2, loop) : feedback_of(step, i / 2);
    DecodedRecord decoded;
    decoded.origin = {.topic = 0, .partition = 0, .offset = first + i, .kafka_ms = kStart};
    const std::string text = dump_json(message);
    decoded.value =
        codec.decode(batch->arena.keep(text), kStart, kStart + step * 1'000, batch->arena);
    batch->records.push_back(decoded);
  }
  batch->ranges = {
      {.topic = kTopic, .partition = 0, .first = first, .last = first + 2 * kRecordsAStep - 1}};
  loop.observe(*batch);
  return batch;
}

// Commands belong to steps; their keys make a step that is done again harmless.
std::vector<std::unique_ptr<PendingCommand>> commands_of(int step, std::uint64_t generation,
                                                         Scenario which) {
  std::vector<std::unique_ptr<PendingCommand>> commands;
  const auto add = [&](CommandRequest request) {
    request.actor = "scenario";
    request.idempotency_key =
        "step-" + std::to_string(step) + "-" + std::to_string(commands.size());
    auto pending = std::make_unique<PendingCommand>();
    pending->request = std::move(request);
    commands.push_back(std::move(pending));
  };
  if (step == 8) {
    const Json ref = {{"name", "bot-x"},
                      {"sha256", std::string(64, 'a')},
                      {"uri", "/x"},
                      {"base_revision", ""},
                      {"tokenizer_digest", ""}};
    add({.verb = "register",
         .target = "bot",
         .body = dump_json(Json{{"adapter_ref", ref}, {"plan", {{"ship", "non_inferior"}}}})});
  }
  if (step == 20) {
    add({.verb = "trial", .subject = "trial-1", .force = true, .body = R"({"verb": "promote"})"});
  }
  add({.verb = "ack",
       .target = "bot",
       .body = dump_json(Json{{"instance", "router-1"}, {"generation", generation}})});
  const bool again = which == Scenario::kSupersede && step == 47;
  if (step == 42 || again) add({.verb = "retrain", .target = "bot"});
  if (step == 56 && which == Scenario::kWhole)
    add({.verb = "rollback", .target = "bot", .body = R"({"to": "base"})"});
  return commands;
}

}  // namespace

Status run_scenario(const fs::path& folder, Scenario which) {
  ManualClock clock(kStart);
  Metrics metrics;
  const auto settings = scenario_settings(folder);
  TRIMTAB_TRY(auto store, StateStore::open(folder / "trimtab.db"));
  TRIMTAB_TRY(auto records, RecordStore::open(folder / "records", settings->store, *store, {}));
  InOrder effects(which);
  InstantJobs jobs(folder / "jobs");
  EventsFeed feed(1'000);
  OffsetBook book;
  BatchPool pool;
  SnapshotBoard board;
  TRIMTAB_TRY(auto loop, ControlLoop::create(settings, "scenario",
                                             {.store = *store,
                                              .records = *records,
                                              .effects = effects,
                                              .jobs = jobs,
                                              .feed = feed,
                                              .book = book,
                                              .pool = pool,
                                              .board = board,
                                              .clock = clock,
                                              .metrics = metrics}));
  TRIMTAB_TRY(auto codec, RecordCodec::create(settings->ingest, {"bot"}));
  const auto next = book.next({.topic = kTopic, .partition = 0}).value_or(0);
  const int first = static_cast<int>(next / (2 * kRecordsAStep));
  TRIMTAB_CHECK_OK(loop->boot(kStart + (first - 1) * 1'000));
  for (int step = first; step < kScenarioSteps; ++step) {
    ControlInputs inputs;
    inputs.now_ms = kStart + step * 1'000;
    inputs.batches.push_back(batch_of(step, codec, *loop, pool));
    inputs.commands = commands_of(step, loop->targets().at("bot")->serving().generation(), which);
    inputs.outcomes = std::exchange(effects.outcomes, {});
    inputs.jobs = jobs.poll();
    TRIMTAB_CHECK_OK(loop->step(inputs));
  }
  return {};
}

Result<std::string> dump_state(const fs::path& folder) {
  TRIMTAB_TRY(auto state, StateReader::open(folder / "trimtab.db"));
  std::string text;
  const std::string root = folder.string();
  const auto line = [&](std::string part) {
    for (auto at = part.find(root); at != std::string::npos; at = part.find(root, at)) {
      part.replace(at, root.size(), "<state>");
    }
    text += part + "\n";
  };
  TRIMTAB_TRY(const auto events, state->events({.limit = 100'000}));
  for (const auto& e : events) {
    line("event " + std::to_string(e.seq) + " " + std::to_string(e.ts_ms) + " " + e.kind + " " +
         e.subject + " " + e.from + ">" + e.to + " " + e.reason + " " + e.message + " " +
         e.evidence + " " + e.payload);
  }
  for (const char* kind : {"trial", "job", "alarm", "adapter"}) {
    TRIMTAB_TRY(const auto documents, state->documents(kind));
    for (const auto& d : documents) line(d.kind + " " + d.id + " " + d.state + " " + d.data);
  }
  for (const char* target : {"", "bot"}) {
    TRIMTAB_TRY(const auto keys, state->blob_keys(target));
    for (const auto& key : keys) {
      TRIMTAB_TRY(const auto blob, state->blob(target, key));
      line(std::string("blob ") + target + "/" + key + " " + blob);
    }
  }
  TRIMTAB_TRY(const auto intents, state->intents());
  for (const auto& i : intents) {
    line("intent " + i.key + " " + i.kind + " " + std::to_string(static_cast<int>(i.state)) + " " +
         i.payload);
  }
  for (const char* stream : {"pairs", "units", "bake_units", "series"}) {
    for (const char* subject : {"trial-1", "trial-2", "trial-3"}) {
      TRIMTAB_TRY(const auto rows, state->decisions(subject, stream));
      for (const auto& row : rows) line(std::string(stream) + " " + row.data);
    }
  }
  TRIMTAB_TRY(const auto offsets, state->offsets());
  for (const auto& [where, next] : offsets) line("offset " + std::to_string(next));
  return text;
}

}  // namespace trimtab::daemon
