// The reads of the state file.
#include "daemon/state_store_sqlite.h"

namespace trimtab::daemon {
namespace {

constexpr std::string_view kDocument =
    "SELECT kind,id,target,state,data,created_ms,updated_ms,seq FROM documents ";
constexpr std::string_view kEvent =
    "SELECT seq,ts_ms,actor,ifnull(idempotency_key,''),target,kind,subject,\"from\",\"to\","
    "generation,config_hash,evidence,reason,message,payload FROM events ";
constexpr std::string_view kRecordColumns =
    "r.row,r.target,r.id,ifnull(r.trace_id,''),r.ts_ms,r.topic,r.partition,r.\"offset\","
    "r.user_hash,r.session_hash,r.unit_hash,r.eval,r.aborted,r.tenant,r.route,r.attested,r.adapter,"
    "r.arm,r.generation,r.experiment,r.segment,r.block,r.start,r.size";
constexpr int kRecordColumnCount = 24;
constexpr std::string_view kFeedbackColumns =
    "f.feedback_id,f.target,f.record_id,f.trace_id,f.record_row,f.name,f.score,f.label,"
    "f.correction,f.source,f.source_id,f.selection,f.propensity,f.ts_ms,f.arrived_ms,"
    "f.quarantined";

Document read_document(const Statement& s) {
  return {s.text(0), s.text(1),    s.text(2),    s.text(3),
          s.text(4), s.integer(5), s.integer(6), s.integer(7)};
}

Event read_event(const Statement& s) {
  Event event;
  event.seq = s.integer(0);
  event.ts_ms = s.integer(1);
  event.actor = s.text(2);
  event.idempotency_key = s.text(3);
  event.target = s.text(4);
  event.kind = s.text(5);
  event.subject = s.text(6);
  event.from = s.text(7);
  event.to = s.text(8);
  event.generation = s.integer(9);
  event.config_hash = s.text(10);
  event.evidence = s.text(11);
  event.reason = s.text(12);
  event.message = s.text(13);
  event.payload = s.text(14);
  return event;
}

RecordRow read_record(const Statement& s, int at) {
  RecordRow record;
  record.row = s.integer(at);
  record.target = s.text(at + 1);
  record.id = s.text(at + 2);
  record.trace_id = s.text(at + 3);
  record.ts_ms = s.integer(at + 4);
  record.topic = s.text(at + 5);
  record.partition = static_cast<std::int32_t>(s.integer(at + 6));
  record.offset = s.integer(at + 7);
  record.user_hash = static_cast<std::uint64_t>(s.integer(at + 8));
  record.session_hash = static_cast<std::uint64_t>(s.integer(at + 9));
  record.unit_hash = static_cast<std::uint64_t>(s.integer(at + 10));
  record.eval = s.integer(at + 11) != 0;
  record.aborted = s.integer(at + 12) != 0;
  record.tenant = s.text(at + 13);
  record.route = s.text(at + 14);
  record.attested = s.integer(at + 15) != 0;
  record.adapter = s.text(at + 16);
  record.arm = s.text(at + 17);
  record.generation = s.integer(at + 18);
  record.experiment = s.text(at + 19);
  record.text = {s.integer(at + 20), s.integer(at + 21), s.integer(at + 22), s.integer(at + 23)};
  return record;
}

FeedbackRow read_feedback(const Statement& s, int at) {
  FeedbackRow feedback;
  feedback.feedback_id = s.text(at);
  feedback.target = s.text(at + 1);
  feedback.record_id = s.text(at + 2);
  feedback.trace_id = s.text(at + 3);
  feedback.record_row = s.integer(at + 4);
  feedback.name = s.text(at + 5);
  feedback.score = s.real(at + 6);
  feedback.label = s.text(at + 7);
  feedback.correction = s.text(at + 8);
  feedback.source = s.text(at + 9);
  feedback.source_id = s.text(at + 10);
  feedback.selection = s.text(at + 11);
  feedback.propensity = s.real(at + 12);
  feedback.ts_ms = s.integer(at + 13);
  feedback.arrived_ms = s.integer(at + 14);
  feedback.quarantined = s.integer(at + 15) != 0;
  return feedback;
}

template <typename Row, typename Read>
Result<std::vector<Row>> all_rows(Statement& statement, Read read) {
  std::vector<Row> rows;
  for (;;) {
    TRIMTAB_TRY(const bool more, statement.step());
    if (!more) return rows;
    rows.push_back(read(statement));
  }
}

template <typename Row, typename Read>
Result<std::optional<Row>> one_row(Statement& statement, Read read) {
  TRIMTAB_TRY(const bool found, statement.step());
  if (!found) return std::optional<Row>();
  return std::optional<Row>(read(statement));
}

std::string select(std::string_view columns, std::string_view rest) {
  return "SELECT " + std::string(columns) + " " + std::string(rest);
}

// -1 stands for "any" in the queries with optional truth values.
std::int64_t tri(std::optional<bool> value) { return value ? (*value ? 1 : 0) : -1; }

// A short span of event time is found by its index; a long one, paged by row, by the rows.
std::string way_to_records(bool narrow) {
  return narrow ? "INDEXED BY records_time " : "NOT INDEXED ";
}

// `record_row != 0` is what the index on it asks for: without it every record of the span walks
// over all feedback.
std::string label_filter(bool narrow) {
  return "FROM records r " + way_to_records(narrow) +
         "JOIN feedback f ON f.record_row = r.row AND f.record_row != 0 ";
}

constexpr std::string_view kLabelFilter =
    "WHERE r.target = ?1 AND r.ts_ms >= ?2 AND r.ts_ms < ?3 AND (?4 < 0 OR r.eval = ?4) "
    "AND (?5 < 0 OR f.quarantined = ?5) AND (?6 = '' OR f.selection = ?6) "
    "AND (?7 = 0 OR f.correction != '') AND (?8 = '' OR f.name = ?8) AND r.row > ?9 ";

void bind_labels(Statement& s, const LabelQuery& q) {
  s.bind(std::string_view(q.target))
      .bind(q.since_ms.value_or(INT64_MIN))
      .bind(q.until_ms.value_or(INT64_MAX))
      .bind(tri(q.eval))
      .bind(tri(q.quarantined))
      .bind(std::string_view(q.selection))
      .bind(q.with_correction)
      .bind(std::string_view(q.name))
      .bind(q.after_row);
}

}  // namespace

Result<std::map<TopicPartition, std::int64_t>> StateQueries::offsets() {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT topic, partition, next FROM offsets"));
  std::map<TopicPartition, std::int64_t> offsets;
  for (;;) {
    TRIMTAB_TRY(const bool more, s.step());
    if (!more) return offsets;
    offsets[{s.text(0), static_cast<std::int32_t>(s.integer(1))}] = s.integer(2);
  }
}

Result<std::string> StateQueries::blob(std::string_view target, std::string_view key) {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT value FROM blobs WHERE target=? AND key=?"));
  s.bind(target).bind(key);
  TRIMTAB_TRY(const bool found, s.step());
  if (!found) {
    return fail(Code::kNotFound,
                "no state '" + std::string(key) + "' of target '" + std::string(target) + "'");
  }
  return s.text(0);
}

Result<std::vector<std::string>> StateQueries::blob_keys(std::string_view target) {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT key FROM blobs WHERE target=? ORDER BY key"));
  s.bind(target);
  return all_rows<std::string>(s, [](const Statement& row) { return row.text(0); });
}

Result<Document> StateQueries::document(std::string_view kind, std::string_view id) {
  TRIMTAB_TRY(auto s, connection().prepare(std::string(kDocument) + "WHERE kind=? AND id=?"));
  s.bind(kind).bind(id);
  TRIMTAB_TRY(const bool found, s.step());
  if (!found)
    return fail(Code::kNotFound, "no " + std::string(kind) + " '" + std::string(id) + "'");
  return read_document(s);
}

Result<std::vector<Document>> StateQueries::documents(std::string_view kind,
                                                      std::string_view target,
                                                      std::string_view state, std::int64_t limit,
                                                      bool newest_first) {
  TRIMTAB_TRY(auto s,
              connection().prepare(std::string(kDocument) +
                                   "WHERE kind=?1 AND (?2='' OR target=?2) AND (?3='' OR state=?3)"
                                   " ORDER BY seq " +
                                   (newest_first ? "DESC" : "ASC") + " LIMIT ?4"));
  s.bind(kind).bind(target).bind(state).bind(limit);
  return all_rows<Document>(s, read_document);
}

Result<std::vector<Event>> StateQueries::events(const EventQuery& q) {
  // The two common filters take their own index; SQLite cannot choose one for "any or this".
  std::string sql(kEvent);
  sql += !q.subject.empty() ? "WHERE subject=?2 " : "WHERE ?2='' ";
  sql += !q.target.empty() ? "AND target=?3 " : "AND ?3='' ";
  sql += "AND seq>?1 AND (?4='' OR kind=?4) ORDER BY seq ";
  sql += q.newest_first ? "DESC LIMIT ?5" : "ASC LIMIT ?5";
  TRIMTAB_TRY(auto s, connection().prepare(sql));
  s.bind(q.after_seq)
      .bind(std::string_view(q.subject))
      .bind(std::string_view(q.target))
      .bind(std::string_view(q.kind))
      .bind(q.limit);
  return all_rows<Event>(s, read_event);
}

Result<std::int64_t> StateQueries::last_event_seq() {
  return connection().scalar("SELECT ifnull(max(seq),0) FROM events");
}

Result<std::optional<Event>> StateQueries::event_by_key(std::string_view idempotency_key) {
  if (idempotency_key.empty()) return std::optional<Event>();
  TRIMTAB_TRY(auto s, connection().prepare(std::string(kEvent) + "WHERE idempotency_key=?"));
  s.bind(idempotency_key);
  return one_row<Event>(s, read_event);
}

Result<std::vector<Intent>> StateQueries::intents(std::optional<IntentState> state,
                                                  std::string_view target, std::int64_t limit) {
  TRIMTAB_TRY(auto s, connection().prepare(
                          "SELECT id,key,target,kind,subject,payload,state,attempts,created_ms,"
                          "updated_ms,result FROM intents WHERE (?1<0 OR state=?1) AND "
                          "(?2='' OR target=?2) ORDER BY id LIMIT ?3"));
  s.bind(state ? static_cast<std::int64_t>(*state) : std::int64_t{-1}).bind(target).bind(limit);
  return all_rows<Intent>(s, [](const Statement& r) {
    return Intent{r.integer(0),
                  r.text(1),
                  r.text(2),
                  r.text(3),
                  r.text(4),
                  r.text(5),
                  static_cast<IntentState>(r.integer(6)),
                  r.integer(7),
                  r.integer(8),
                  r.integer(9),
                  r.text(10)};
  });
}

Result<std::vector<DecisionRow>> StateQueries::decisions(std::string_view subject,
                                                         std::string_view stream,
                                                         std::int64_t after_seq,
                                                         std::int64_t limit) {
  TRIMTAB_TRY(auto s,
              connection().prepare("SELECT subject,stream,seq,data FROM decisions WHERE "
                                   "subject=? AND stream=? AND seq>? ORDER BY seq LIMIT ?"));
  s.bind(subject).bind(stream).bind(after_seq).bind(limit);
  return all_rows<DecisionRow>(s, [](const Statement& r) {
    return DecisionRow{r.text(0), r.text(1), r.integer(2), r.text(3)};
  });
}

Result<std::int64_t> StateQueries::count_decisions(std::string_view subject,
                                                   std::string_view stream) {
  TRIMTAB_TRY(auto s,
              connection().prepare("SELECT count(*) FROM decisions WHERE subject=? AND stream=?"));
  s.bind(subject).bind(stream);
  TRIMTAB_TRY(const bool row, s.step());
  return row ? s.integer(0) : 0;
}

Result<std::optional<RecordRow>> StateQueries::record_by_id(std::string_view target,
                                                            std::string_view id) {
  TRIMTAB_TRY(auto s, connection().prepare(
                          select(kRecordColumns, "FROM records r WHERE r.id=? AND r.target=?")));
  s.bind(id).bind(target);
  return one_row<RecordRow>(s, [](const Statement& r) { return read_record(r, 0); });
}

Result<std::optional<RecordRow>> StateQueries::record_for_feedback(std::string_view id,
                                                                   std::string_view trace_id) {
  const bool by_id = !id.empty();
  TRIMTAB_TRY(auto s, connection().prepare(select(
                          kRecordColumns, by_id ? "FROM records r WHERE r.id=? ORDER BY r.row DESC"
                                                : "FROM records r WHERE r.trace_id=? "
                                                  "ORDER BY r.row DESC")));
  s.bind(by_id ? id : trace_id);
  return one_row<RecordRow>(s, [](const Statement& r) { return read_record(r, 0); });
}

Result<std::vector<RecordRow>> StateQueries::records(const RecordQuery& q) {
  TRIMTAB_TRY(auto s,
              connection().prepare(select(
                  kRecordColumns, std::string("FROM records r ") + way_to_records(q.narrow) +
                                      "WHERE r.target=?1 AND r.ts_ms>=?2 AND r.ts_ms<?3 "
                                      "AND (?4<0 OR r.eval=?4) AND r.row>?5 ORDER BY r.row " +
                                      (q.newest_first ? "DESC LIMIT ?6" : "ASC LIMIT ?6"))));
  s.bind(std::string_view(q.target))
      .bind(q.since_ms.value_or(INT64_MIN))
      .bind(q.until_ms.value_or(INT64_MAX))
      .bind(tri(q.eval))
      .bind(q.after_row)
      .bind(q.limit);
  return all_rows<RecordRow>(s, [](const Statement& r) { return read_record(r, 0); });
}

Result<std::optional<std::int64_t>> StateQueries::first_record_ms(std::string_view target,
                                                                  std::int64_t since_ms,
                                                                  std::int64_t until_ms) {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT ts_ms FROM records WHERE target=? AND ts_ms>=? "
                                           "AND ts_ms<? ORDER BY ts_ms LIMIT 1"));
  s.bind(target).bind(since_ms).bind(until_ms);
  return one_row<std::int64_t>(s, [](const Statement& r) { return r.integer(0); });
}

Result<std::vector<LabelRow>> StateQueries::labels(const LabelQuery& q) {
  TRIMTAB_TRY(auto s, connection().prepare(
                          select(std::string(kRecordColumns) + "," + std::string(kFeedbackColumns),
                                 label_filter(q.narrow) + std::string(kLabelFilter) +
                                     "ORDER BY r.row, f.feedback_id LIMIT ?10")));
  bind_labels(s, q);
  s.bind(q.limit);
  return all_rows<LabelRow>(s, [](const Statement& r) {
    return LabelRow{read_feedback(r, kRecordColumnCount), read_record(r, 0)};
  });
}

Result<std::int64_t> StateQueries::count_labels(const LabelQuery& q) {
  TRIMTAB_TRY(auto s, connection().prepare(
                          select("count(*)", label_filter(q.narrow) + std::string(kLabelFilter))));
  bind_labels(s, q);
  TRIMTAB_TRY(const bool row, s.step());
  return row ? s.integer(0) : 0;
}

Result<std::vector<CorrectionRow>> StateQueries::corrections(const LabelQuery& q) {
  const auto rest = label_filter(q.narrow) + std::string(kLabelFilter) + "AND r.aborted = 0";
  TRIMTAB_TRY(auto s, connection().prepare(select("r.ts_ms,f.ts_ms,source_id,selection", rest)));
  bind_labels(s, q);
  return all_rows<CorrectionRow>(s, [](const Statement& r) {
    return CorrectionRow{r.integer(0), r.integer(1), r.text(2), r.text(3)};
  });
}

Result<std::optional<FeedbackRow>> StateQueries::feedback(std::string_view feedback_id) {
  TRIMTAB_TRY(auto s, connection().prepare(
                          select(kFeedbackColumns, "FROM feedback f WHERE f.feedback_id=?")));
  s.bind(feedback_id);
  return one_row<FeedbackRow>(s, [](const Statement& r) { return read_feedback(r, 0); });
}

Result<std::vector<FeedbackRow>> StateQueries::pending_feedback(std::int64_t limit) {
  TRIMTAB_TRY(auto s,
              connection().prepare(select(
                  kFeedbackColumns,
                  "FROM feedback f WHERE f.record_row=0 ORDER BY f.arrived_ms, f.feedback_id "
                  "LIMIT ?")));
  s.bind(limit);
  return all_rows<FeedbackRow>(s, [](const Statement& r) { return read_feedback(r, 0); });
}

Result<std::int64_t> StateQueries::count_feedback_of(std::int64_t record_row) {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT count(*) FROM feedback WHERE record_row!=0 AND "
                                           "record_row=?"));
  s.bind(record_row);
  TRIMTAB_TRY(const bool row, s.step());
  return row ? s.integer(0) : 0;
}

Result<std::vector<Segment>> StateQueries::segments() {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT segment,bytes,records,first_ms,last_ms,closed "
                                           "FROM segments ORDER BY segment"));
  return all_rows<Segment>(s, [](const Statement& r) {
    return Segment{r.integer(0), r.integer(1), r.integer(2),
                   r.integer(3), r.integer(4), r.integer(5) != 0};
  });
}

Result<std::vector<RecordRow>> StateQueries::records_of_person(std::uint64_t user_hash,
                                                               std::uint64_t session_hash) {
  TRIMTAB_TRY(auto s, connection().prepare(select(
                          kRecordColumns,
                          "FROM records r WHERE r.row IN (SELECT row FROM records WHERE "
                          "user_hash!=0 AND user_hash=?1 UNION SELECT row FROM records WHERE "
                          "session_hash!=0 AND session_hash=?2) ORDER BY r.row")));
  s.bind(user_hash).bind(session_hash);
  return all_rows<RecordRow>(s, [](const Statement& r) { return read_record(r, 0); });
}

Result<std::vector<RecordRow>> StateQueries::records_in_segment(std::int64_t segment) {
  TRIMTAB_TRY(auto s,
              connection().prepare(select(
                  kRecordColumns, "FROM records r WHERE r.segment=? ORDER BY r.block, r.start")));
  s.bind(segment);
  return all_rows<RecordRow>(s, [](const Statement& r) { return read_record(r, 0); });
}

Result<std::vector<std::string>> StateQueries::seen_batches() {
  TRIMTAB_TRY(auto s, connection().prepare("SELECT hashes FROM seen ORDER BY last"));
  return all_rows<std::string>(s, [](const Statement& r) { return r.text(0); });
}

}  // namespace trimtab::daemon
