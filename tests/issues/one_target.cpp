#include "tests/issues/one_target.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "base/json.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;
constexpr const char* kTopic = "records";

class PerformedAtOnce final : public EffectRunner {
 public:
  void order(EffectOrder order) override { orders.push_back(std::move(order)); }
  std::vector<EffectOutcome> take() {
    std::vector<EffectOutcome> outcomes;
    for (const auto& order : std::exchange(orders, {})) {
      outcomes.push_back(perform_order(nothing_, order, {}));
    }
    return outcomes;
  }
  std::vector<EffectOrder> orders;

 private:
  struct Nothing final : EffectPerformer {
    Result<std::string> perform(const EffectOrder&, std::stop_token) override { return "{}"; }
  };
  Nothing nothing_;
};

// Jobs are started and never end.
class StartedJobs final : public JobPort {
 public:
  Status ensure(const std::string&, const config::LimitSettings&) override { return {}; }
  void cancel(const std::string&) override {}
  std::vector<retrain::JobEvent> poll() override { return {}; }
};

}  // namespace

config::TargetSettings quiet_target() {
  config::TargetSettings target;
  target.name = "bot";
  target.base = "base";
  target.unit_key = config::UnitKey::kRequest;
  target.serving.driver = config::ServingDriver::kFile;
  target.drift.reference_size = 500;
  target.retrain.data.near_duplicate = 1.0;
  target.retrain.data.max_age_ms = 1'000'000'000;
  target.retrain.cooldown_ms = 0;
  config::share_common_fields(target);
  return target;
}

struct OneTarget::Parts {
  Parts(const std::filesystem::path& folder, const config::Settings& settings)
      : clock(kStart),
        store(StateStore::open(folder / "trimtab.db").value()),
        records(RecordStore::open(folder / "records", settings.store, *store, {}).value()),
        feed(1'000),
        codec(RecordCodec::create(settings.ingest, {"bot"}).value()) {}

  ManualClock clock;
  Metrics metrics;
  std::unique_ptr<StateStore> store;
  std::unique_ptr<RecordStore> records;
  PerformedAtOnce effects;
  StartedJobs jobs;
  EventsFeed feed;
  OffsetBook book;
  BatchPool pool;
  SnapshotBoard board;
  RecordCodec codec;
};

OneTarget::OneTarget(const config::TargetSettings& settings, std::int64_t ms_a_step)
    : folder_("trimtab-issue"), ms_a_step_(ms_a_step), now_ms_(kStart) {
  auto all = std::make_shared<config::Settings>();
  all->state.dir = folder_.path().string();
  all->ingest.allowed_lateness_ms = 1'000;
  all->targets.push_back(settings);
  parts_ = std::make_unique<Parts>(folder_.path(), *all);
  auto loop = ControlLoop::create(all, "test",
                                  {.store = *parts_->store,
                                   .records = *parts_->records,
                                   .effects = parts_->effects,
                                   .jobs = parts_->jobs,
                                   .feed = parts_->feed,
                                   .book = parts_->book,
                                   .pool = parts_->pool,
                                   .board = parts_->board,
                                   .clock = parts_->clock,
                                   .metrics = parts_->metrics});
  loop_ = std::move(loop.value());
  const auto booted = loop_->boot(now_ms_);
  EXPECT_TRUE(booted.has_value()) << booted.error().message;
}

OneTarget::~OneTarget() = default;

void OneTarget::step(const std::vector<Json>& messages) {
  now_ms_ += ms_a_step_;
  ControlInputs inputs;
  inputs.now_ms = now_ms_;
  inputs.outcomes = parts_->effects.take();
  if (!messages.empty()) {
    auto batch = parts_->pool.take();
    batch->topics = {kTopic};
    const std::int64_t first = offset_;
    for (const auto& message : messages) {
      DecodedRecord decoded;
      decoded.origin = {.topic = 0, .partition = 0, .offset = offset_++, .kafka_ms = now_ms_};
      const auto text = batch->arena.keep(dump_json(message));
      decoded.value = parts_->codec.decode(text, now_ms_, now_ms_, batch->arena);
      EXPECT_FALSE(std::holds_alternative<DeadLetter>(decoded.value)) << dump_json(message);
      batch->records.push_back(decoded);
    }
    batch->ranges = {{.topic = kTopic, .partition = 0, .first = first, .last = offset_ - 1}};
    loop_->observe(*batch);
    inputs.batches.push_back(std::move(batch));
  }
  const auto done = loop_->step(inputs);
  ASSERT_TRUE(done.has_value()) << done.error().message;
}

CommandAnswer OneTarget::command(const std::string& verb, const std::string& body) {
  now_ms_ += ms_a_step_;
  ControlInputs inputs;
  inputs.now_ms = now_ms_;
  inputs.outcomes = parts_->effects.take();
  auto pending = std::make_unique<PendingCommand>();
  pending->request.verb = verb;
  pending->request.target = "bot";
  pending->request.actor = "test";
  pending->request.body = body;
  auto answer = pending->answer.get_future();
  inputs.commands.push_back(std::move(pending));
  const auto done = loop_->step(inputs);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return answer.get();
}

std::vector<Json> OneTarget::documents(const std::string& kind) {
  std::vector<Json> all;
  const auto found = parts_->store->documents(kind);
  EXPECT_TRUE(found.has_value());
  if (!found) return all;
  for (const auto& document : *found) all.push_back(parse_json(document.data).value());
  return all;
}

Json OneTarget::record(const std::string& words, const Json& more) {
  const std::string id = "r" + std::to_string(++made_);
  Json made = {{"id", id},
               {"ts", now_ms_ + ms_a_step_ - 1'000 + static_cast<std::int64_t>(made_ % 900)},
               {"target", "bot"},
               {"session_id", "s-" + id},
               {"input", words},
               {"output", "tracking"},
               {"adapter", nullptr},
               {"arm", "champion"},
               {"generation", 1},
               {"latency_s", 0.1},
               {"tok", {{"in", 5}, {"out", 1}}},
               {"status", "ok"}};
  if (more.is_object()) made.update(more);
  return made;
}

Json OneTarget::label(const Json& record, bool right, const std::string& correction) {
  const auto id = record.at("id").get<std::string>();
  Json made = {{"kind", "feedback"}, {"feedback_id", "f-" + id}, {"id", id},
               {"name", "correct"},  {"score", right ? 1 : 0},   {"selection", "random"},
               {"propensity", 0.5},  {"ts", record.at("ts")}};
  if (!correction.empty()) made["correction"] = correction;
  return made;
}

}  // namespace trimtab::daemon
