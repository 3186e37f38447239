// Over 400 lines because a step - apply, decide, save, commit, announce - is read as one.
#include "daemon/control_loop.h"

#include <algorithm>
#include <tuple>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/kill_point.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace {

constexpr const char* kOwnTarget = "";  // blobs that belong to no target

std::string input_subject(std::int64_t now_ms) {
  return "inputs-" + format_rfc3339(now_ms).substr(0, 10);
}

}  // namespace

ControlLoop::ControlLoop(std::shared_ptr<const config::Settings> settings, std::string config_hash,
                         ControlParts parts)
    : settings_(std::move(settings)),
      config_hash_(std::move(config_hash)),
      parts_(parts),
      join_(settings_->ingest, parts.metrics),
      seen_(static_cast<std::size_t>(settings_->ingest.dedup_records)) {}

Result<std::unique_ptr<ControlLoop>> ControlLoop::create(
    std::shared_ptr<const config::Settings> settings, std::string config_hash, ControlParts parts) {
  auto loop = std::unique_ptr<ControlLoop>(
      new ControlLoop(std::move(settings), std::move(config_hash), parts));
  for (const auto& target : loop->settings_->targets) {
    auto made = Target::create(target, *loop->settings_);
    if (!made) return fail_in("target " + target.name, made.error());
    loop->targets_[target.name] = std::move(*made);
    TRIMTAB_TRY(auto extractor, drift::SignalExtractor::create(target.drift));
    loop->extractors_.emplace(target.name, std::move(extractor));
  }
  TRIMTAB_CHECK_OK(loop->load());
  TRIMTAB_CHECK_OK(loop->load_seen());
  return loop;
}

Status ControlLoop::load() {
  for (auto& [name, target] : targets_) {
    if (auto loaded = target->load(parts_.store); !loaded) {
      return fail_in("target " + name + ": saved state", loaded.error());
    }
  }
  TRIMTAB_CHECK_OK(join_.load(parts_.store));
  TRIMTAB_TRY(const auto offsets, parts_.store.offsets());
  for (const auto& [where, next] : offsets) parts_.book.set(where, next);
  answers_.clear();
  answer_order_.clear();
  if (auto blob = parts_.store.blob(kOwnTarget, "answers")) {
    TRIMTAB_TRY(const Json saved, parse_json(*blob));
    for (const auto& entry : saved) {
      answer_order_.push_back(entry.at(0).get<std::string>());
      answers_[answer_order_.back()] = entry.at(1).get<std::string>();
    }
  }
  return {};
}

Status ControlLoop::load_seen() {
  TRIMTAB_TRY(const auto batches, parts_.store.seen_batches());
  for (const auto& batch : batches) seen_.load(batch);
  return {};
}

Status ControlLoop::boot(std::int64_t now_ms) {
  TRIMTAB_TRY(auto tx, parts_.store.begin());
  Step step{.now_ms = now_ms,
            .store = parts_.store,
            .tx = tx,
            .records = parts_.records,
            .join = join_,
            .metrics = parts_.metrics,
            .config_hash = config_hash_};
  for (auto& [name, target] : targets_) TRIMTAB_CHECK_OK(target->boot(step));
  for (auto& [name, target] : targets_) TRIMTAB_CHECK_OK(target->save(tx));
  TRIMTAB_CHECK_OK(tx.commit());
  ControlInputs none;
  announce(step, none, {}, {});
  for (auto& [name, target] : targets_) {
    if (!target->job().open()) continue;
    const auto& job = target->job().job()->id;
    if (auto found = parts_.jobs.ensure(job, target->settings().retrain.limits); !found) {
      log::warn("{}: {}", job, found.error().message);
    }
  }
  publish(now_ms);
  return {};
}

Status ControlLoop::step(ControlInputs& inputs) {
  kill_point("step.begin");
  const std::int64_t began_ms = parts_.clock.mono_ms();
  std::vector<CommandAnswer> answers;
  const auto ranges = fresh_ranges(inputs);
  // What a step that is not committed has counted is counted when it is done again.
  const auto counted = std::tuple(consumed_, accepted_, duplicates_, dead_, feedback_, joined_);
  auto tx = parts_.store.begin();
  if (!tx) {
    undo_step(inputs, tx.error());
    return tl::unexpected<Error>(tx.error());
  }
  Step step{.now_ms = inputs.now_ms,
            .store = parts_.store,
            .tx = *tx,
            .records = parts_.records,
            .join = join_,
            .metrics = parts_.metrics,
            .config_hash = config_hash_,
            .disk_low = disk_low_};
  auto done = [&]() -> Status {
    TRIMTAB_CHECK_OK(apply(step, inputs));
    for (auto& command : inputs.commands) answers.push_back(once(step, command->request));
    for (auto& [name, target] : targets_) {
      if (auto advanced = target->advance(step); !advanced) return fail_in(name, advanced.error());
    }
    TRIMTAB_CHECK_OK(journal_inputs(step, inputs));
    kill_point("step.applied");
    return commit(step, ranges);
  }();
  if (!done) {
    { const auto dropped = std::move(*tx); }  // rolls back
    std::tie(consumed_, accepted_, duplicates_, dead_, feedback_, joined_) = counted;
    undo_step(inputs, done.error());
    return done;
  }
  kill_point("step.committed");
  parts_.metrics
      .histogram("trimtab_sqlite_commit_duration_seconds", "A step, from its inputs to the commit",
                 {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5})
      .with()
      .observe(static_cast<double>(parts_.clock.mono_ms() - began_ms) / 1000.0);
  last_commit_ms_ = inputs.now_ms;
  announce(step, inputs, ranges, std::move(answers));
  return {};
}

Status ControlLoop::apply(Step& step, ControlInputs& inputs) {
  for (auto& batch : inputs.batches) TRIMTAB_CHECK_OK(apply_batch(step, *batch));
  for (const auto& outcome : inputs.outcomes) {
    const auto it = targets_.find(outcome.target);
    if (it != targets_.end()) TRIMTAB_CHECK_OK(it->second->on_effect(step, outcome));
  }
  for (const auto& event : inputs.jobs) {
    for (auto& [name, target] : targets_) TRIMTAB_CHECK_OK(target->on_job(step, event));
  }
  TRIMTAB_TRY(const auto expired, join_.expire(step.tx, step.now_ms));
  (void)expired;
  return {};
}

Status ControlLoop::apply_batch(Step& step, RecordBatch& batch) {
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const auto& decoded = batch.records[i];
    if (decoded.origin.partition >= 0) {
      const auto next = parts_.book.next(
          {.topic = batch.topics.at(decoded.origin.topic), .partition = decoded.origin.partition});
      if (next && decoded.origin.offset < *next) continue;  // committed before a restart
    }
    ++consumed_;
    if (const auto* record = std::get_if<InferenceRecord>(&decoded.value)) {
      TRIMTAB_CHECK_OK(apply_record(step, batch, decoded, *record, i));
    } else if (const auto* feedback = std::get_if<Feedback>(&decoded.value)) {
      TRIMTAB_CHECK_OK(apply_feedback(step, *feedback));
    } else {
      ++dead_;
    }
  }
  return watch(step);
}

// What the batch means to the detectors: of each target at once, for that is faster; alarms in the
// order of what raised them.
Status ControlLoop::watch(Step& step) {
  struct Raised {
    std::uint64_t order;
    Target* target;
    drift::Alarm alarm;
  };
  std::vector<Raised> all;
  for (auto& [name, target] : targets_) {
    for (auto& [order, alarm] : target->watch()) {
      all.push_back({order, target.get(), std::move(alarm)});
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Raised& a, const Raised& b) { return a.order < b.order; });
  for (const Raised& one : all) TRIMTAB_CHECK_OK(one.target->raise(step, one.alarm));
  return {};
}

Status ControlLoop::apply_record(Step& step, RecordBatch& batch, const DecodedRecord& decoded,
                                 const InferenceRecord& record, std::size_t index) {
  const auto it = targets_.find(std::string(record.target));
  if (it == targets_.end()) return {};
  auto& records = parts_.metrics.counter("trimtab_records_total", "Records, by what became of them",
                                         {"target", "result"});
  if (!seen_.stage(DedupeWindow::key(record.target, record.id))) {
    ++duplicates_;
    records.with({it->first, "duplicate"}).add();
    return {};
  }
  if (record.is_probe()) {
    records.with({it->first, "probe"}).add();
    return {};
  }
  ++accepted_;
  records.with({it->first, "accepted"}).add();
  parts_.metrics
      .gauge("trimtab_last_record_processed_timestamp_seconds",
             "When the newest record was processed, seconds since the epoch")
      .with()
      .set(static_cast<double>(step.now_ms) / 1000.0);
  parts_.metrics
      .gauge("trimtab_event_time_delay_seconds", "From a record's own time to its processing",
             {"target"})
      .with({it->first})
      .set(static_cast<double>(step.now_ms - record.ts_ms) / 1000.0);
  Target& target = *it->second;
  const std::string unit = target.unit_of(record);
  RecordRow row;
  row.target = record.target;
  row.id = record.id;
  row.trace_id = record.trace_id;
  row.ts_ms = record.ts_ms;
  if (decoded.origin.partition >= 0) {
    row.topic = batch.topics.at(decoded.origin.topic);
    row.partition = decoded.origin.partition;
    row.offset = decoded.origin.offset;
  }
  if (!record.user_id.empty()) row.user_hash = person_hash("user", record.user_id);
  if (!record.session_id.empty()) row.session_hash = person_hash("session", record.session_id);
  row.unit_hash = person_hash("unit", unit);
  row.eval = target.is_evaluation_unit(unit);
  row.aborted = record.is_aborted();
  row.tenant = record.tenant;
  row.route = record.route;
  row.attested = record.served != Served::kUnattested;
  row.adapter = record.adapter;
  row.arm = record.arm;
  row.generation = record.generation.value_or(0);
  row.experiment = record.experiment;
  join_.observe_event_time(row.target, row.ts_ms);
  std::vector<Joined> joined;
  if (parts_.records.samples(unit)) {
    if (const auto position = parts_.records.append(record, step.now_ms)) row.text = *position;
    TRIMTAB_TRY(row.row, step.tx.add_record(row));
    TRIMTAB_TRY(joined, join_.on_record(step.store, step.tx, row));
  }
  drift::Observation* observed = nullptr;
  if (index < batch.observed.size() && batch.observed[index] >= 0) {
    observed = &batch.observations[static_cast<std::size_t>(batch.observed[index])];
  }
  TRIMTAB_CHECK_OK(target.on_record(step, record, row, unit, observed));
  for (const auto& one : joined) {
    ++joined_;
    TRIMTAB_CHECK_OK(target.on_joined(step, one));
  }
  return {};
}

Status ControlLoop::apply_feedback(Step& step, const Feedback& feedback) {
  ++feedback_;
  TRIMTAB_TRY(const auto joined, join_.on_feedback(step.store, step.tx, feedback, step.now_ms));
  if (!joined) return {};
  const auto it = targets_.find(joined->record.target);
  if (it == targets_.end()) return {};
  ++joined_;
  return it->second->on_joined(step, *joined);
}

Status ControlLoop::journal_inputs(Step& step, const ControlInputs& inputs) {
  if (inputs.empty()) return {};
  Json row = {{"now_ms", inputs.now_ms}, {"config", config_hash_}};
  for (const auto& batch : inputs.batches) {
    for (const auto& range : batch->ranges) {
      row["ranges"].push_back({range.topic, range.partition, range.first, range.last});
    }
    if (batch->ranges.empty()) row["http"].push_back(batch->records.size());
  }
  for (const auto& command : inputs.commands) row["commands"].push_back(command->request.verb);
  for (const auto& outcome : inputs.outcomes) {
    if (outcome.kind != "survey") row["effects"].push_back({outcome.key, outcome.ok});
  }
  for (const auto& event : inputs.jobs) {
    row["jobs"].push_back({event.job, static_cast<int>(event.kind)});
  }
  if (row.size() == 2) return {};
  TRIMTAB_TRY(const auto seq,
              step.tx.append_decision(input_subject(inputs.now_ms), "inputs", dump_json(row)));
  (void)seq;
  return {};
}

std::vector<OffsetRange> ControlLoop::fresh_ranges(const ControlInputs& inputs) const {
  std::vector<OffsetRange> ranges;
  for (const auto& batch : inputs.batches) {
    for (auto range : batch->ranges) {
      const auto next = parts_.book.next({.topic = range.topic, .partition = range.partition});
      if (next && range.last < *next) continue;
      if (next) range.first = std::max(range.first, *next);
      const auto known = std::find_if(ranges.begin(), ranges.end(), [&](const OffsetRange& one) {
        return one.topic == range.topic && one.partition == range.partition;
      });
      if (known == ranges.end()) {
        ranges.push_back(range);
      } else {
        known->last = std::max(known->last, range.last);
      }
    }
  }
  return ranges;
}

Status ControlLoop::commit(Step& step, const std::vector<OffsetRange>& ranges) {
  for (auto& [name, target] : targets_) {
    if (auto saved = target->save(step.tx); !saved) return fail_in(name, saved.error());
  }
  TRIMTAB_CHECK_OK(join_.save(step.tx));
  if (answers_dirty_) {
    Json saved = Json::array();
    for (const auto& key : answer_order_) saved.push_back({key, answers_[key]});
    TRIMTAB_CHECK_OK(step.tx.put_blob(kOwnTarget, "answers", dump_json(saved)));
    answers_dirty_ = false;
  }
  if (!seen_.staged().empty()) {
    TRIMTAB_CHECK_OK(step.tx.append_seen(seen_.staged(), seen_.capacity()));
  }
  TRIMTAB_CHECK_OK(parts_.records.flush(step.tx, step.now_ms));
  TRIMTAB_CHECK_OK(step.tx.advance_offsets(ranges));
  TRIMTAB_CHECK_OK(step.tx.commit());
  seen_.commit();
  return {};
}

void ControlLoop::announce(Step& step, ControlInputs& inputs,
                           const std::vector<OffsetRange>& ranges,
                           std::vector<CommandAnswer> answers) {
  parts_.book.committed(ranges);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    inputs.commands[i]->answer.set_value(std::move(answers[i]));
  }
  inputs.commands.clear();
  for (auto& batch : inputs.batches) {
    if (batch->on_committed) batch->on_committed({});
    parts_.pool.give_back(std::move(batch));
  }
  inputs.batches.clear();
  inputs.outcomes.clear();
  inputs.jobs.clear();
  for (auto& routing : step.routings) {
    parts_.feed.set_routing(routing.target, routing.generation, std::move(routing.json));
  }
  parts_.feed.announce(std::move(step.announcements));
  kill_point("step.announced");
  for (auto& order : step.orders) parts_.effects.order(std::move(order));
  for (const auto& job : step.job_cancels) parts_.jobs.cancel(job);
  for (auto& [name, target] : targets_) {
    if (!target->job().wants_start(step.now_ms)) continue;
    const auto started =
        parts_.jobs.ensure(target->job().job()->id, target->settings().retrain.limits);
    if (!started) target->job_start_failed(step, started.error());
  }
}

// Nothing happened: memory goes back to what is committed, what came in stays in the caller's
// hands.
void ControlLoop::undo_step(ControlInputs& inputs, const Error& error) {
  std::uint64_t held_back = 0;  // a full disk says so every second
  if (step_lines_.allow(parts_.clock.mono_ms(), held_back)) {
    log::error("a step was not committed: {}{}", error.message, log::not_shown(held_back));
  }
  for (auto& command : inputs.commands) {
    command->answer.set_value(answer_problem(503, "state cannot be written: " + error.message));
  }
  inputs.commands.clear();
  seen_.rollback();
  if (auto rolled = parts_.records.rollback(); !rolled) {
    log::error("record store: {}", rolled.error().message);
  }
  if (auto loaded = load(); !loaded) log::error("reload: {}", loaded.error().message);
}

void ControlLoop::observe(RecordBatch& batch) const {
  batch.observed.assign(batch.records.size(), -1);
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const auto* record = std::get_if<InferenceRecord>(&batch.records[i].value);
    if (record == nullptr) continue;
    const auto it = extractors_.find(std::string(record->target));
    if (it == extractors_.end()) continue;
    drift::Observation& observation = batch.observations.emplace_back();
    if (!it->second.extract(to_drift_view(*record, 0), observation)) {
      batch.observations.pop_back();
      continue;
    }
    batch.observed[i] = static_cast<std::int32_t>(batch.observations.size()) - 1;
  }
}

std::map<std::string, std::vector<std::string>> ControlLoop::pointers() const {
  std::map<std::string, std::vector<std::string>> all;
  for (const auto& [name, extractor] : extractors_) {
    if (!extractor.pointers().empty()) all[name] = extractor.pointers();
  }
  return all;
}

void ControlLoop::offer_settings(std::shared_ptr<const config::Settings> settings,
                                 std::string config_hash) {
  std::lock_guard lock(offered_mutex_);
  offered_ = std::move(settings);
  offered_hash_ = std::move(config_hash);
}

}  // namespace trimtab::daemon
