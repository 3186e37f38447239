#include "daemon/feedback_join.h"

#include <algorithm>

#include "base/json.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kDelaysKept = 1'000;
constexpr std::size_t kDelaysNeeded = 50;
// Blobs that belong to no target.
constexpr const char* kNoTarget = "";
constexpr const char* kNewestKey = "join.newest";
constexpr const char* kDelaysKey = "join.delays";
// Upper edges for labels: from a click at once to a week of back office.
const std::vector<double> kDelayBuckets = {1,     10,     60,     300,     1'800,
                                           7'200, 28'800, 86'400, 259'200, 604'800};

// What the feedback waits for. Ids and trace ids share the table, so they are told apart.
std::string wait_key(std::string_view record_id, std::string_view trace_id) {
  return record_id.empty() ? "t" + std::string(trace_id) : "r" + std::string(record_id);
}

FeedbackRow to_row(const Feedback& feedback, std::int64_t now_ms) {
  FeedbackRow row;
  row.feedback_id = feedback.feedback_id;
  row.target = feedback.target;
  row.record_id = feedback.record_id;
  row.trace_id = feedback.trace_id;
  row.name = feedback.name;
  row.score = unit_score(feedback);
  row.label = feedback.label;
  row.correction = feedback.correction;
  row.source = label_source_name(feedback.source);
  row.source_id = feedback.source_id;
  row.selection = selection_name(feedback.selection);
  row.propensity = feedback.propensity;
  row.ts_ms = feedback.ts_ms;
  row.arrived_ms = now_ms;
  return row;
}

}  // namespace

FeedbackJoin::FeedbackJoin(const config::IngestSettings& settings, Metrics& metrics)
    : settings_(settings),
      received_(metrics.counter("trimtab_feedback_received_total", "Pieces of feedback, new ones")
                    .with()),
      matched_(metrics
                   .counter("trimtab_feedback_matched_total",
                            "Pieces of feedback that found their record")
                   .with()),
      unmatched_(metrics
                     .counter("trimtab_feedback_unmatched_total",
                              "Pieces of feedback that waited in vain for a stored record")
                     .with()),
      ratio_(
          metrics
              .gauge("trimtab_labels_matched_ratio", "Share of the feedback that found its record")
              .with()),
      delay_(metrics
                 .histogram("trimtab_label_delay_seconds", "Time from a record to its feedback",
                            kDelayBuckets)
                 .with()),
      waiting_gauge_(
          metrics.gauge("trimtab_feedback_waiting", "Pieces of feedback that wait for their record")
              .with()) {}

Status FeedbackJoin::load(StateQueries& state) {
  index_.clear();
  key_of_.clear();
  by_age_.clear();
  newest_ms_.clear();
  delays_.clear();
  newest_changed_ = delays_changed_ = false;
  const auto saved = [&](const char* key) -> Result<Json> {
    const auto text = state.blob(kNoTarget, key);
    if (!text && text.error().code == Code::kNotFound) return Json::object();
    if (!text) return tl::unexpected<Error>(text.error());
    return parse_json(*text);
  };
  TRIMTAB_TRY(const Json newest, saved(kNewestKey));
  TRIMTAB_TRY(const Json delays, saved(kDelaysKey));
  try {
    newest_ms_ = newest.get<std::map<std::string, std::int64_t>>();
    delays_ = delays.get<std::map<std::string, std::deque<std::int64_t>>>();
  } catch (const nlohmann::json::exception& error) {
    return fail(Code::kCorrupt, std::string("saved label delays: ") + error.what());
  }
  TRIMTAB_TRY(const auto rows, state.pending_feedback(settings_.pending_feedback));
  for (const FeedbackRow& row : rows) wait_for(row);
  return {};
}

void FeedbackJoin::wait_for(const FeedbackRow& row) {
  const std::string key = wait_key(row.record_id, row.trace_id);
  if (!key_of_.try_emplace(row.feedback_id, key).second) {
    forget(row.feedback_id);
    key_of_.emplace(row.feedback_id, key);
  }
  index_[key].push_back(row.feedback_id);
  by_age_.emplace_back(row.arrived_ms, row.feedback_id);
  waiting_gauge_.set(static_cast<double>(key_of_.size()));
}

void FeedbackJoin::forget(const std::string& feedback_id) {
  const auto known = key_of_.find(feedback_id);
  if (known == key_of_.end()) return;
  const auto at = index_.find(known->second);
  std::erase(at->second, feedback_id);
  if (at->second.empty()) index_.erase(at);
  key_of_.erase(known);
  waiting_gauge_.set(static_cast<double>(key_of_.size()));
}

Result<Joined> FeedbackJoin::join(Transaction& write, FeedbackRow feedback, const RecordRow& record,
                                  bool replaces) {
  feedback.record_row = record.row;
  feedback.target = record.target;
  TRIMTAB_CHECK_OK(write.join_feedback(feedback.feedback_id, record.row, record.target));
  Joined joined{std::move(feedback), record, 0, replaces};
  joined.delay_ms = std::max<std::int64_t>(0, joined.feedback.ts_ms - record.ts_ms);
  if (!replaces) {
    matched_.add();
    delay_.observe(static_cast<double>(joined.delay_ms) / 1000.0);
    remember_delay(record.target, joined.delay_ms);
  }
  ratio_.set(received_.value() > 0 ? matched_.value() / received_.value() : 0);
  return joined;
}

Result<std::optional<Joined>> FeedbackJoin::on_feedback(StateStore& state, Transaction& write,
                                                        const Feedback& feedback,
                                                        std::int64_t now_ms) {
  FeedbackRow row = to_row(feedback, now_ms);
  TRIMTAB_TRY(const auto known, state.feedback(row.feedback_id));
  TRIMTAB_TRY(const bool stored, write.put_feedback(row));
  if (!stored) return std::optional<Joined>();  // the same again, or older than what is known
  if (!known) received_.add();
  TRIMTAB_TRY(const auto record, state.record_for_feedback(row.record_id, row.trace_id));
  if (record) {
    forget(row.feedback_id);
    const bool replaces = known && known->record_row != 0;
    TRIMTAB_TRY(auto joined, join(write, std::move(row), *record, replaces));
    return std::optional<Joined>(std::move(joined));
  }
  wait_for(row);
  TRIMTAB_CHECK_OK(bound(write));
  return std::optional<Joined>();
}

Result<std::vector<Joined>> FeedbackJoin::on_record(StateStore& state, Transaction& write,
                                                    const RecordRow& record) {
  std::vector<Joined> joined;
  if (index_.empty()) return joined;
  std::vector<std::string> ids;
  for (const auto& key : {wait_key(record.id, {}), wait_key({}, record.trace_id)}) {
    const auto at = index_.find(key);
    if (at != index_.end()) ids.insert(ids.end(), at->second.begin(), at->second.end());
  }
  std::sort(ids.begin(), ids.end());  // the order of decisions must not hang on a hash table
  for (const std::string& id : ids) {
    forget(id);
    TRIMTAB_TRY(auto row, state.feedback(id));
    if (!row) continue;
    TRIMTAB_TRY(auto one, join(write, std::move(*row), record, false));
    joined.push_back(std::move(one));
  }
  return joined;
}

// The oldest leave when the table is full: a bound is a bound.
Status FeedbackJoin::bound(Transaction& write) {
  while (key_of_.size() > static_cast<std::size_t>(settings_.pending_feedback)) {
    TRIMTAB_CHECK_OK(drop_oldest(write));
  }
  return {};
}

Status FeedbackJoin::drop_oldest(Transaction& write) {
  const std::string id = std::move(by_age_.front().second);
  by_age_.pop_front();
  if (!key_of_.contains(id)) return {};  // joined meanwhile
  forget(id);
  unmatched_.add();
  return write.remove_feedback(id);
}

Result<std::int64_t> FeedbackJoin::expire(Transaction& write, std::int64_t now_ms) {
  std::int64_t dropped = 0;
  while (!by_age_.empty() && by_age_.front().first < now_ms - settings_.pending_ms) {
    if (key_of_.contains(by_age_.front().second)) ++dropped;
    TRIMTAB_CHECK_OK(drop_oldest(write));
  }
  return dropped;
}

void FeedbackJoin::observe_event_time(const std::string& target, std::int64_t ts_ms) {
  std::int64_t& newest = newest_ms_[target];
  newest_changed_ = newest_changed_ || ts_ms > newest;
  newest = std::max(newest, ts_ms);
}

std::int64_t FeedbackJoin::watermark_ms(const std::string& target) const {
  const auto at = newest_ms_.find(target);
  return at == newest_ms_.end() ? 0 : at->second - settings_.allowed_lateness_ms;
}

void FeedbackJoin::remember_delay(const std::string& target, std::int64_t delay_ms) {
  auto& delays = delays_[target];
  delays.push_back(delay_ms);
  if (delays.size() > kDelaysKept) delays.pop_front();
  delays_changed_ = true;
}

std::optional<std::int64_t> FeedbackJoin::label_delay_p95_ms(const std::string& target) const {
  const auto at = delays_.find(target);
  if (at == delays_.end() || at->second.size() < kDelaysNeeded) return std::nullopt;
  std::vector<std::int64_t> sorted(at->second.begin(), at->second.end());
  const auto rank = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() * 95) / 100);
  std::nth_element(sorted.begin(), rank, sorted.end());
  return *rank;
}

Status FeedbackJoin::save(Transaction& write) {
  if (std::exchange(newest_changed_, false)) {
    TRIMTAB_CHECK_OK(write.put_blob(kNoTarget, kNewestKey, dump_json(Json(newest_ms_))));
  }
  if (std::exchange(delays_changed_, false)) {
    TRIMTAB_CHECK_OK(write.put_blob(kNoTarget, kDelaysKey, dump_json(Json(delays_))));
  }
  return {};
}

}  // namespace trimtab::daemon
