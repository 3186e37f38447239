// The writes of the state file: all inside a Transaction.
#include <cstring>

#include "base/check.h"
#include "daemon/state_store_sqlite.h"

namespace trimtab::daemon {
namespace {

std::int64_t changes(sqlite3* db) { return sqlite3_changes64(db); }

}  // namespace

// Runs one write with the given parameters; a failure kills the transaction.
#define TRIMTAB_WRITE(sql, parameters)                                                \
  do {                                                                                \
    CHECK(store_ != nullptr, "write in a finished transaction");                      \
    auto& c_ = store_->connection();                                                  \
    if (c_.dead) return fail(Code::kInternal, c_.file + ": an earlier write failed"); \
    c_.dead = true;                                                                   \
    TRIMTAB_TRY(auto s, c_.prepare(sql));                                             \
    s parameters;                                                                     \
    TRIMTAB_CHECK_OK(s.run());                                                        \
    c_.dead = false;                                                                  \
  } while (false)

Status Transaction::advance_offsets(const std::vector<OffsetRange>& ranges) {
  for (const OffsetRange& range : ranges) {
    std::optional<std::int64_t> stored;
    {
      TRIMTAB_TRY(auto s, store_->connection().prepare(
                              "SELECT next FROM offsets WHERE topic=? AND partition=?"));
      s.bind(std::string_view(range.topic)).bind(range.partition);
      TRIMTAB_TRY(const bool found, s.step());
      if (found) stored = s.integer(0);
    }
    if (stored && range.first < *stored) {
      return fail(Code::kConflict, range.topic + "/" + std::to_string(range.partition) +
                                       ": offsets " + std::to_string(range.first) + ".." +
                                       std::to_string(range.last) + " were applied already (next " +
                                       std::to_string(*stored) + ")");
    }
    TRIMTAB_CHECK_OK(reset_offset({range.topic, range.partition}, range.next()));
  }
  return {};
}

Status Transaction::reset_offset(const TopicPartition& where, std::int64_t next) {
  TRIMTAB_WRITE("INSERT INTO offsets VALUES(?,?,?) ON CONFLICT DO UPDATE SET next=excluded.next",
                .bind(std::string_view(where.topic)).bind(where.partition).bind(next));
  return {};
}

Status Transaction::put_blob(std::string_view target, std::string_view key,
                             std::string_view value) {
  TRIMTAB_WRITE("INSERT INTO blobs VALUES(?,?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                .bind(target).bind(key).bind_blob(value));
  return {};
}

Status Transaction::remove_blob(std::string_view target, std::string_view key) {
  TRIMTAB_WRITE("DELETE FROM blobs WHERE target=? AND key=?", .bind(target).bind(key));
  return {};
}

Status Transaction::remove_blobs(std::string_view target, std::string_view prefix) {
  CHECK(!prefix.empty() && prefix.back() != '\xff', "a prefix that has an end");
  std::string end(prefix);
  ++end.back();
  TRIMTAB_WRITE("DELETE FROM blobs WHERE target=? AND key>=? AND key<?",
                .bind(target).bind(prefix).bind(std::string_view(end)));
  return {};
}

Status Transaction::append_seen(const std::vector<std::uint64_t>& hashes, std::size_t window) {
  if (hashes.empty()) return {};
  std::string bytes(hashes.size() * sizeof(std::uint64_t), '\0');
  std::memcpy(bytes.data(), hashes.data(), bytes.size());  // little-endian on all we build for
  // A batch's key is the number of ids seen up to and including it.
  TRIMTAB_TRY(const std::int64_t before,
              store_->connection().scalar("SELECT ifnull(max(last),0) FROM seen"));
  const std::int64_t last = before + static_cast<std::int64_t>(hashes.size());
  TRIMTAB_WRITE("INSERT INTO seen VALUES(?,?)", .bind(last).bind_blob(bytes));
  TRIMTAB_WRITE("DELETE FROM seen WHERE last <= ?",
                .bind(last - static_cast<std::int64_t>(window)));
  return {};
}

Status Transaction::put(const Document& d) {
  TRIMTAB_WRITE(
      "INSERT INTO documents(kind,id,target,state,data,created_ms,updated_ms) "
      "VALUES(?,?,?,?,?,?,?) ON CONFLICT(kind,id) DO UPDATE SET target=excluded.target,"
      "state=excluded.state,data=excluded.data,updated_ms=excluded.updated_ms",
      .bind(std::string_view(d.kind))
          .bind(std::string_view(d.id))
          .bind(std::string_view(d.target))
          .bind(std::string_view(d.state))
          .bind(std::string_view(d.data))
          .bind(d.created_ms)
          .bind(d.updated_ms));
  return {};
}

Status Transaction::remove(std::string_view kind, std::string_view id) {
  TRIMTAB_WRITE("DELETE FROM documents WHERE kind=? AND id=?", .bind(kind).bind(id));
  return {};
}

Result<std::int64_t> Transaction::next_number(std::string_view name) {
  TRIMTAB_WRITE("INSERT INTO numbers VALUES(?,1) ON CONFLICT DO UPDATE SET value=value+1",
                .bind(name));
  TRIMTAB_TRY(auto s, store_->connection().prepare("SELECT value FROM numbers WHERE name=?"));
  s.bind(name);
  TRIMTAB_TRY(const bool found, s.step());
  CHECK(found, "a number that was just written is there");
  return s.integer(0);
}

Result<std::int64_t> Transaction::append(const Event& e) {
  if (!e.idempotency_key.empty()) {
    TRIMTAB_TRY(const auto known, store_->event_by_key(e.idempotency_key));
    if (known) {
      return fail(Code::kConflict, "Idempotency-Key '" + e.idempotency_key +
                                       "' was used before, by event " + std::to_string(known->seq));
    }
  }
  TRIMTAB_WRITE(
      "INSERT INTO events(ts_ms,actor,idempotency_key,target,kind,subject,\"from\",\"to\","
      "generation,config_hash,evidence,reason,message,payload) "
      "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
      .bind(e.ts_ms)
          .bind(std::string_view(e.actor))
          .bind_text_or_null(e.idempotency_key)
          .bind(std::string_view(e.target))
          .bind(std::string_view(e.kind))
          .bind(std::string_view(e.subject))
          .bind(std::string_view(e.from))
          .bind(std::string_view(e.to))
          .bind(e.generation)
          .bind(std::string_view(e.config_hash))
          .bind(std::string_view(e.evidence))
          .bind(std::string_view(e.reason))
          .bind(std::string_view(e.message))
          .bind(std::string_view(e.payload)));
  return sqlite3_last_insert_rowid(store_->connection().db);
}

Result<std::int64_t> Transaction::add(const Intent& i) {
  TRIMTAB_WRITE(
      "INSERT INTO intents(key,target,kind,subject,payload,state,attempts,created_ms,"
      "updated_ms,result) VALUES(?,?,?,?,?,0,0,?,?,'') ON CONFLICT(key) DO NOTHING",
      .bind(std::string_view(i.key))
          .bind(std::string_view(i.target))
          .bind(std::string_view(i.kind))
          .bind(std::string_view(i.subject))
          .bind(std::string_view(i.payload))
          .bind(i.created_ms)
          .bind(i.created_ms));
  TRIMTAB_TRY(auto s, store_->connection().prepare("SELECT id FROM intents WHERE key=?"));
  s.bind(std::string_view(i.key));
  TRIMTAB_TRY(const bool found, s.step());
  CHECK(found, "an intent that was just written is there");
  return s.integer(0);
}

Status Transaction::finish_intent(std::int64_t id, IntentState state, std::string_view result,
                                  std::int64_t now_ms) {
  TRIMTAB_WRITE("UPDATE intents SET state=?, result=?, updated_ms=? WHERE id=?",
                .bind(static_cast<std::int64_t>(state)).bind(result).bind(now_ms).bind(id));
  return {};
}

Status Transaction::count_attempt(std::int64_t id, std::int64_t now_ms) {
  TRIMTAB_WRITE("UPDATE intents SET attempts=attempts+1, updated_ms=? WHERE id=?",
                .bind(now_ms).bind(id));
  return {};
}

Result<std::int64_t> Transaction::append_decision(std::string_view subject, std::string_view stream,
                                                  std::string_view data) {
  std::int64_t seq = 1;
  {
    TRIMTAB_TRY(auto s, store_->connection().prepare("SELECT ifnull(max(seq),0)+1 FROM decisions "
                                                     "WHERE subject=? AND stream=?"));
    s.bind(subject).bind(stream);
    TRIMTAB_TRY(const bool found, s.step());
    if (found) seq = s.integer(0);
  }
  TRIMTAB_WRITE("INSERT INTO decisions VALUES(?,?,?,?)",
                .bind(subject).bind(stream).bind(seq).bind(data));
  return seq;
}

Result<std::int64_t> Transaction::add_record(const RecordRow& r) {
  TRIMTAB_TRY(const auto known, store_->record_by_id(r.target, r.id));
  if (known) return known->row;
  TRIMTAB_WRITE("INSERT INTO records VALUES(NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                .bind(std::string_view(r.target))
                    .bind(std::string_view(r.id))
                    .bind_text_or_null(r.trace_id)
                    .bind(r.ts_ms)
                    .bind(std::string_view(r.topic))
                    .bind(r.partition)
                    .bind(r.offset)
                    .bind(r.user_hash)
                    .bind(r.session_hash)
                    .bind(r.unit_hash)
                    .bind(r.eval)
                    .bind(r.aborted)
                    .bind(std::string_view(r.tenant))
                    .bind(std::string_view(r.route))
                    .bind(r.attested)
                    .bind(std::string_view(r.adapter))
                    .bind(std::string_view(r.arm))
                    .bind(r.generation)
                    .bind(std::string_view(r.experiment))
                    .bind(r.text.segment)
                    .bind(r.text.block)
                    .bind(r.text.start)
                    .bind(r.text.size));
  return sqlite3_last_insert_rowid(store_->connection().db);
}

Status Transaction::set_text(std::int64_t row, const TextPosition& text) {
  TRIMTAB_WRITE("UPDATE records SET segment=?, block=?, start=?, size=? WHERE row=?",
                .bind(text.segment).bind(text.block).bind(text.start).bind(text.size).bind(row));
  return {};
}

Result<bool> Transaction::put_feedback(const FeedbackRow& f) {
  TRIMTAB_WRITE(
      "INSERT INTO feedback VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
      "ON CONFLICT(feedback_id) DO UPDATE SET target=excluded.target,"
      "record_id=excluded.record_id,trace_id=excluded.trace_id,"
      "record_row=excluded.record_row,name=excluded.name,score=excluded.score,"
      "label=excluded.label,correction=excluded.correction,source=excluded.source,"
      "source_id=excluded.source_id,selection=excluded.selection,"
      "propensity=excluded.propensity,ts_ms=excluded.ts_ms,"
      "arrived_ms=excluded.arrived_ms,quarantined=excluded.quarantined "
      "WHERE excluded.ts_ms > feedback.ts_ms",
      .bind(std::string_view(f.feedback_id))
          .bind(std::string_view(f.target))
          .bind(std::string_view(f.record_id))
          .bind(std::string_view(f.trace_id))
          .bind(f.record_row)
          .bind(std::string_view(f.name))
          .bind(f.score)
          .bind(std::string_view(f.label))
          .bind(std::string_view(f.correction))
          .bind(std::string_view(f.source))
          .bind(std::string_view(f.source_id))
          .bind(std::string_view(f.selection))
          .bind(f.propensity)
          .bind(f.ts_ms)
          .bind(f.arrived_ms)
          .bind(f.quarantined));
  return changes(store_->connection().db) > 0;
}

Status Transaction::join_feedback(std::string_view feedback_id, std::int64_t record_row,
                                  std::string_view target) {
  TRIMTAB_WRITE("UPDATE feedback SET record_row=?, target=? WHERE feedback_id=?",
                .bind(record_row).bind(target).bind(feedback_id));
  return {};
}

Status Transaction::quarantine(std::string_view feedback_id, bool on) {
  TRIMTAB_WRITE("UPDATE feedback SET quarantined=? WHERE feedback_id=?",
                .bind(on).bind(feedback_id));
  return {};
}

Result<std::int64_t> Transaction::release_quarantine(std::string_view target,
                                                     std::string_view source_id) {
  TRIMTAB_WRITE(
      "UPDATE feedback SET quarantined=0 WHERE quarantined=1 AND target=?1 AND "
      "(?2='' OR source_id=?2)",
      .bind(target).bind(source_id));
  return changes(store_->connection().db);
}

Status Transaction::remove_feedback(std::string_view feedback_id) {
  TRIMTAB_WRITE("DELETE FROM feedback WHERE feedback_id=?", .bind(feedback_id));
  return {};
}

Status Transaction::put_segment(const Segment& g) {
  TRIMTAB_WRITE("INSERT OR REPLACE INTO segments VALUES(?,?,?,?,?,?)", .bind(g.segment)
                                                                           .bind(g.bytes)
                                                                           .bind(g.records)
                                                                           .bind(g.first_ms)
                                                                           .bind(g.last_ms)
                                                                           .bind(g.closed));
  return {};
}

Status Transaction::remove_segment(std::int64_t segment) {
  TRIMTAB_WRITE(
      "DELETE FROM feedback WHERE record_row!=0 AND record_row IN "
      "(SELECT row FROM records WHERE segment=?)",
      .bind(segment));
  TRIMTAB_WRITE("DELETE FROM records WHERE segment=?", .bind(segment));
  TRIMTAB_WRITE("DELETE FROM segments WHERE segment=?", .bind(segment));
  return {};
}

Status Transaction::remove_record(std::int64_t row) {
  TRIMTAB_WRITE("DELETE FROM feedback WHERE record_row!=0 AND record_row=?", .bind(row));
  TRIMTAB_WRITE("DELETE FROM records WHERE row=?", .bind(row));
  return {};
}

Result<std::int64_t> Transaction::trim(const Retention& keep) {
  std::int64_t removed = 0;
  sqlite3* db = store_->connection().db;
  if (keep.events_before_ms > 0) {
    TRIMTAB_WRITE("DELETE FROM events WHERE ts_ms < ?", .bind(keep.events_before_ms));
    removed += changes(db);
  }
  if (keep.intents_before_ms > 0) {
    TRIMTAB_WRITE("DELETE FROM intents WHERE state != 0 AND updated_ms < ?",
                  .bind(keep.intents_before_ms));
    removed += changes(db);
  }
  if (keep.unjoined_feedback_before_ms > 0) {
    TRIMTAB_WRITE("DELETE FROM feedback WHERE record_row = 0 AND arrived_ms < ?",
                  .bind(keep.unjoined_feedback_before_ms));
    removed += changes(db);
  }
  if (keep.decisions_kept_subjects > 0) {
    TRIMTAB_WRITE(
        "DELETE FROM decisions WHERE subject IN (SELECT id FROM documents WHERE kind IN "
        "('trial','alarm','job') ORDER BY seq DESC LIMIT -1 OFFSET ?)",
        .bind(keep.decisions_kept_subjects));
    removed += changes(db);
  }
  return removed;
}

}  // namespace trimtab::daemon
