#include "daemon/backtest_replay.h"

#include <algorithm>

#include "base/clock.h"
#include "daemon/record_outcomes.h"
#include "daemon/record_store.h"
#include "daemon/stored_text.h"
#include "shadow/pools.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

constexpr std::uint64_t kCommitEvery = 5'000;
constexpr std::int64_t kTurnMs = 1'000;

Result<config::TargetSettings> chosen(const config::Settings& settings, const std::string& name) {
  if (name.empty() && settings.targets.size() == 1) return settings.targets.front();
  std::string known;
  for (const auto& target : settings.targets) {
    if (target.name == name) return target;
    known += (known.empty() ? "" : ", ") + target.name;
  }
  return fail(Code::kInvalid, (name.empty() ? std::string("several targets are configured")
                                            : "no target '" + name + "'") +
                                  "; give --target, one of: " + known);
}

std::int64_t time_of(const Decoded& value) {
  if (const auto* record = std::get_if<InferenceRecord>(&value)) return record->ts_ms;
  if (const auto* feedback = std::get_if<Feedback>(&value)) return feedback->ts_ms;
  return 0;
}

// A file has no message time that could stand in for the record's own.
const char* time_problem(const Decoded& value, std::int64_t message_ms) {
  TimeSource source = TimeSource::kRecord;
  if (const auto* record = std::get_if<InferenceRecord>(&value)) source = record->time_source;
  if (const auto* feedback = std::get_if<Feedback>(&value)) source = feedback->time_source;
  if (message_ms > 0 || source == TimeSource::kRecord) return nullptr;
  return source == TimeSource::kAbsent ? "no ts, and a file has no message time in its place"
                                       : "ts lies in the future";
}

}  // namespace

// The next message of one log, decoded; it waits for its turn in time.
struct BacktestReplay::Head {
  std::unique_ptr<PastLog> log;
  TextArena arena;
  Decoded value;
  std::string where;
  std::int64_t ts_ms = 0;
  bool open = true;
};

BacktestReplay::BacktestReplay(const config::Settings& settings, config::TargetSettings target,
                               ReplayOptions options, RecordCodec codec, drift::Backtest backtest,
                               std::unique_ptr<StateStore> store,
                               std::unique_ptr<TempFolder> folder)
    : ingest_(settings.ingest),
      target_(std::move(target)),
      options_(std::move(options)),
      folder_(std::move(folder)),
      store_(std::move(store)),
      codec_(std::move(codec)),
      seen_(static_cast<std::size_t>(settings.ingest.dedup_records)),
      join_(settings.ingest, metrics_),
      backtest_(std::move(backtest)) {
  for (std::size_t run = 0; run < backtest_.runs(); ++run) {
    policies_.emplace_back(target_, options_.job_ms);
  }
}

BacktestReplay::~BacktestReplay() { tx_.reset(); }

Result<std::unique_ptr<BacktestReplay>> BacktestReplay::create(const config::Settings& settings,
                                                               const ReplayOptions& options) {
  TRIMTAB_TRY(auto target, chosen(settings, options.target));
  std::vector<std::string> names;
  for (const auto& one : settings.targets) names.push_back(one.name);
  TRIMTAB_TRY(auto codec, RecordCodec::create(settings.ingest, names));
  TRIMTAB_TRY(auto backtest, drift::Backtest::create(target.drift, options.scales));
  TRIMTAB_CHECK_OK(codec.set_pointers(target.name, backtest.extractor().pointers()));
  auto folder = std::make_unique<TempFolder>("trimtab-backtest");
  TRIMTAB_TRY(auto store, StateStore::open(folder->path() / "past.db"));
  std::unique_ptr<BacktestReplay> replay(new BacktestReplay(settings, std::move(target), options,
                                                            std::move(codec), std::move(backtest),
                                                            std::move(store), std::move(folder)));
  TRIMTAB_CHECK_OK(replay->begin());
  return replay;
}

Status BacktestReplay::begin() {
  if (tx_) TRIMTAB_CHECK_OK(tx_->commit());
  tx_.reset();
  TRIMTAB_TRY(auto tx, store_->begin());
  tx_.emplace(std::move(tx));
  uncommitted_ = 0;
  seen_.commit();
  return {};
}

Status BacktestReplay::note_dead(const std::string& where, std::string_view reason,
                                 std::string_view message) {
  ++counts_.dead;
  const std::string line = where + ": " + std::string(reason) + ": " + std::string(message);
  if (options_.strict) return fail(Code::kInvalid, line);
  if (counts_.dead_lines.size() < options_.named_dead) counts_.dead_lines.push_back(line);
  return {};
}

// Decodes on to the next message that can be used, or closes the head.
Status BacktestReplay::pull(Head& head) {
  SystemClock clock;
  for (;;) {
    PastLog::Message message;
    TRIMTAB_TRY(const bool more, head.log->next(message));
    if (!more) {
      head.open = false;
      return {};
    }
    ++counts_.messages;
    head.arena.reset();
    head.where = head.log->where();
    head.value = codec_.decode(message.payload, message.ts_ms, clock.now_ms(), head.arena);
    if (const auto* letter = std::get_if<DeadLetter>(&head.value)) {
      TRIMTAB_CHECK_OK(note_dead(head.where, dead_reason_name(letter->reason), letter->message));
      continue;
    }
    if (const char* problem = time_problem(head.value, message.ts_ms)) {
      TRIMTAB_CHECK_OK(note_dead(head.where, "bad_time", problem));
      continue;
    }
    head.ts_ms = time_of(head.value);
    return {};
  }
}

Status BacktestReplay::run(std::vector<std::unique_ptr<PastLog>> logs) {
  std::vector<std::unique_ptr<Head>> heads;
  for (auto& log : logs) {
    heads.push_back(std::make_unique<Head>());
    heads.back()->log = std::move(log);
    TRIMTAB_CHECK_OK(pull(*heads.back()));
  }
  for (;;) {
    std::erase_if(heads, [](const auto& head) { return !head->open; });
    if (heads.empty()) return {};
    auto& first = **std::min_element(heads.begin(), heads.end(), [](const auto& a, const auto& b) {
      return a->ts_ms < b->ts_ms;
    });
    TRIMTAB_CHECK_OK(apply(first));
    TRIMTAB_CHECK_OK(pull(first));
  }
}

Status BacktestReplay::apply(const Head& head) {
  if (++uncommitted_ >= kCommitEvery) TRIMTAB_CHECK_OK(begin());
  now_ms_ = std::max(now_ms_, head.ts_ms);
  if (const auto* record = std::get_if<InferenceRecord>(&head.value)) {
    TRIMTAB_CHECK_OK(apply_record(*record, head));
  } else if (const auto* feedback = std::get_if<Feedback>(&head.value)) {
    TRIMTAB_CHECK_OK(apply_feedback(*feedback));
  }
  if (now_ms_ < next_turn_ms_) return {};
  return turn();
}

RecordRow BacktestReplay::row_of(const InferenceRecord& record) const {
  const std::string unit =
      unit_of_ids(target_.unit_key, record.user_id, record.session_id, record.id);
  RecordRow row;
  row.target = record.target;
  row.id = record.id;
  row.trace_id = record.trace_id;
  row.ts_ms = record.ts_ms;
  row.unit_hash = person_hash("unit", unit);
  row.eval = shadow::is_evaluation_unit(unit, target_.eval_share);
  row.aborted = record.is_aborted();
  row.attested = record.served != Served::kUnattested;
  row.adapter = record.adapter;
  row.arm = record.arm;
  row.generation = record.generation.value_or(0);
  return row;
}

void BacktestReplay::follow_champion(const RecordRow& row) {
  if (!row.attested || row.arm != shadow::kArmChampion || row.generation <= champion_generation_) {
    return;
  }
  champion_generation_ = row.generation;
  if (champion_ && *champion_ != row.adapter) {
    const std::string reason = "promoted " + (row.adapter.empty() ? "the base" : row.adapter);
    for (std::size_t run = 0; run < backtest_.runs(); ++run) {
      backtest_.rereference(run, reason);
      policies_[run].rereferenced(now_ms_);
    }
  }
  champion_ = row.adapter;
}

Status BacktestReplay::apply_record(const InferenceRecord& record, const Head& head) {
  if (record.target != target_.name) {
    ++counts_.other_targets;
    return {};
  }
  if (!seen_.stage(DedupeWindow::key(record.target, record.id))) {
    ++counts_.duplicates;
    return {};
  }
  if (record.is_probe()) {
    ++counts_.probes;
    return {};
  }
  ++counts_.accepted;
  ++records_;
  if (keep_places_) places_.push_back(head.where);
  RecordRow row = row_of(record);
  follow_champion(row);
  join_.observe_event_time(row.target, row.ts_ms);
  TRIMTAB_TRY(row.row, tx_->add_record(row));
  TRIMTAB_TRY(const auto joined, join_.on_record(*store_, *tx_, row));
  drift::Observation event;
  if (backtest_.extractor().extract(to_drift_view(record, records_), event)) {
    event.candidate = row.attested && champion_ && row.adapter != *champion_;
    backtest_.observe(event, raised_);
    take_raised();
  }
  if (row.arm != shadow::kArmCandidate) {
    outcome("error", row.id, row.ts_ms, is_error(record) ? 1.0 : 0.0);
    outcome("refusal", row.id, row.ts_ms, is_refusal(record) ? 1.0 : 0.0);
  }
  for (const Joined& one : joined) TRIMTAB_CHECK_OK(on_joined(one));
  return {};
}

Status BacktestReplay::apply_feedback(const Feedback& feedback) {
  ++counts_.feedback;
  TRIMTAB_TRY(const auto joined, join_.on_feedback(*store_, *tx_, feedback, now_ms_));
  if (!joined) return {};
  return on_joined(*joined);
}

Status BacktestReplay::on_joined(const Joined& joined) {
  ++counts_.joined;
  if (!joined.replaces && !joined.record.eval) {
    const std::int64_t ts_ms = joined.record.ts_ms;
    label_ms_.insert(std::upper_bound(label_ms_.begin(), label_ms_.end(), ts_ms), ts_ms);
  }
  if (joined.replaces || joined.record.arm == shadow::kArmCandidate) return {};
  if (const auto said = outcome_of(joined.feedback)) {
    outcome(said->metric, joined.record.id, joined.record.ts_ms, said->value);
  }
  return {};
}

void BacktestReplay::outcome(const char* metric, const std::string& record_id, std::int64_t ts_ms,
                             double value) {
  const auto index = backtest_.harm_metric(metric);
  if (!index) return;
  drift::Outcome event;
  event.ts_ms = ts_ms;
  event.offset = records_;
  event.metric = *index;
  event.value = value;
  event.id.assign(record_id);
  backtest_.observe_outcome(event, raised_);
  take_raised();
}

void BacktestReplay::take_raised() {
  for (const auto& [run, alarm] : raised_) policies_[run].on_alarm(alarm, now_ms_);
  raised_.clear();
}

Status BacktestReplay::close_units() {
  if (!backtest_.harm_metric("complaint")) return {};
  const std::int64_t configured = target_.promotion.plan.label_wait_ms;
  const std::int64_t wait_ms = configured > 0
                                   ? configured
                                   : join_.label_delay_p95_ms(target_.name)
                                         .value_or(target_.promotion.plan.label_wait_default_ms);
  const auto counts = [](const RecordRow& record) {
    return record.arm != shadow::kArmCandidate && record.arm != shadow::kArmHoldback;
  };
  const auto closed = [&](const UnitOutcome& unit) -> Status {
    outcome("complaint", unit.record_id, unit.ts_ms, unit.complained ? 1.0 : 0.0);
    return {};
  };
  for (std::int64_t before = -1; before != outcomes_.cursor_ms();) {
    before = outcomes_.cursor_ms();
    TRIMTAB_CHECK_OK(outcomes_.close_until(*store_, target_.name, join_.watermark_ms(target_.name),
                                           wait_ms, counts, closed));
  }
  return {};
}

Status BacktestReplay::turn() {
  next_turn_ms_ = now_ms_ + kTurnMs;
  backtest_.tick(now_ms_);
  TRIMTAB_CHECK_OK(close_units());
  for (std::size_t run = 0; run < policies_.size(); ++run) {
    const drift::Monitor& monitor = backtest_.monitor(run);
    auto turn =
        policies_[run].advance(label_ms_, now_ms_, monitor.state() == drift::MonitorState::kArmed,
                               monitor.harm_latched() || monitor.accuracy_declined());
    if (turn.job_ended && options_.promote) {
      backtest_.rereference(run, "the retraining is taken to have been promoted");
      policies_[run].rereferenced(now_ms_);
    }
    if (turn.launched) turn.launched->offset = records_;
    if (turn.launched) backtest_.note_retraining(run, std::move(*turn.launched));
  }
  TRIMTAB_TRY(const auto expired, join_.expire(*tx_, now_ms_));
  (void)expired;
  return {};
}

Status BacktestReplay::finish() { return turn(); }

}  // namespace trimtab::daemon
