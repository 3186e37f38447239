// The schema of the state file and its forward migration.
#include "base/check.h"
#include "daemon/state_store_sqlite.h"

namespace trimtab::daemon {
namespace {

// "trim" in ASCII: marks the file as ours (PRAGMA application_id).
constexpr std::int64_t kApplicationId = 0x7472696d;

// One entry a schema version: the statements that lead to it from the version before.
constexpr const char* kMigrations[] = {
    // 1
    R"sql(
CREATE TABLE offsets(topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY(topic, partition)) WITHOUT ROWID;
CREATE TABLE blobs(target TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(target, key)) WITHOUT ROWID;
CREATE TABLE seen(last INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE numbers(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
  target TEXT NOT NULL, state TEXT NOT NULL, data TEXT NOT NULL,
  created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE(kind, id));
CREATE INDEX documents_target ON documents(kind, target, seq);
CREATE TABLE events(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ms INTEGER NOT NULL,
  actor TEXT NOT NULL, idempotency_key TEXT UNIQUE, target TEXT NOT NULL, kind TEXT NOT NULL,
  subject TEXT NOT NULL, "from" TEXT NOT NULL, "to" TEXT NOT NULL, generation INTEGER NOT NULL,
  config_hash TEXT NOT NULL, evidence TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
  payload TEXT NOT NULL);
CREATE INDEX events_subject ON events(subject, seq);
CREATE INDEX events_target ON events(target, seq);
CREATE TABLE intents(id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
  target TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, payload TEXT NOT NULL,
  state INTEGER NOT NULL, attempts INTEGER NOT NULL, created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL, result TEXT NOT NULL);
CREATE INDEX intents_state ON intents(state, id);
CREATE TABLE decisions(subject TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL,
  data TEXT NOT NULL, PRIMARY KEY(subject, stream, seq)) WITHOUT ROWID;
CREATE TABLE records(row INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, id TEXT NOT NULL,
  trace_id TEXT, ts_ms INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  "offset" INTEGER NOT NULL, user_hash INTEGER NOT NULL, session_hash INTEGER NOT NULL,
  unit_hash INTEGER NOT NULL, eval INTEGER NOT NULL, aborted INTEGER NOT NULL,
  tenant TEXT NOT NULL, route TEXT NOT NULL, attested INTEGER NOT NULL, adapter TEXT NOT NULL,
  arm TEXT NOT NULL, generation INTEGER NOT NULL, experiment TEXT NOT NULL,
  segment INTEGER NOT NULL, block INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL,
  UNIQUE(id, target));
CREATE INDEX records_trace ON records(trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX records_user ON records(user_hash) WHERE user_hash != 0;
CREATE INDEX records_session ON records(session_hash) WHERE session_hash != 0;
CREATE INDEX records_segment ON records(segment);
CREATE TABLE feedback(feedback_id TEXT PRIMARY KEY, target TEXT NOT NULL, record_id TEXT NOT NULL,
  trace_id TEXT NOT NULL, record_row INTEGER NOT NULL, name TEXT NOT NULL, score REAL,
  label TEXT NOT NULL, correction TEXT NOT NULL, source TEXT NOT NULL, source_id TEXT NOT NULL,
  selection TEXT NOT NULL, propensity REAL, ts_ms INTEGER NOT NULL, arrived_ms INTEGER NOT NULL,
  quarantined INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX feedback_record ON feedback(record_row) WHERE record_row != 0;
CREATE INDEX feedback_pending ON feedback(arrived_ms) WHERE record_row = 0;
CREATE TABLE segments(segment INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, records INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, closed INTEGER NOT NULL);
)sql",
    // 2: every slice of event time (complaints, pools, hold-outs) was a walk over all records
    "CREATE INDEX records_time ON records(target, ts_ms);",
};
static_assert(std::size(kMigrations) == kStateSchema);

Status execute(sqlite3* db, const std::string& sql, const std::string& file) {
  const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db, code, sql.substr(0, 60), file);
  return {};
}

Result<std::int64_t> pragma(sqlite3* db, const char* sql, const std::string& file) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(db, sql, -1, &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db, code, sql, file);
  code = sqlite3_step(statement);
  const std::int64_t value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
  sqlite3_finalize(statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE) return sqlite_error(db, code, sql, file);
  return value;
}

}  // namespace

tl::unexpected<Error> sqlite_error(sqlite3* db, int code, std::string_view doing,
                                   const std::string& file) {
  const int extended = db != nullptr ? sqlite3_extended_errcode(db) : code;
  // After a failed fsync nobody knows what is on the disk: never try again (fault 8).
  CHECK(extended != SQLITE_IOERR_FSYNC && extended != SQLITE_IOERR_DIR_FSYNC,
        "fsync of the state file failed; restart from the last committed state");
  std::string message = file + ": " + (db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  if (!doing.empty()) message += " (" + std::string(doing.substr(0, 60)) + ")";
  switch (code & 0xff) {
    case SQLITE_FULL:
      return fail(Code::kIo, message + ": free some disk space; trimtab resumes by itself");
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM: return fail(Code::kIo, std::move(message));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return fail(Code::kCorrupt, message + ": restore the state folder from a copy");
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return fail(Code::kUnavailable, std::move(message));
    case SQLITE_CONSTRAINT: return fail(Code::kConflict, std::move(message));
    default: return fail(Code::kInternal, std::move(message));
  }
}

Status open_database(const std::filesystem::path& file, bool writer, sqlite3*& db) {
  const int flags = (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY) |
                    SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(file.c_str(), &db, flags, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db, code, "open", file.string());
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 5'000);
  if (!writer) return execute(db, "PRAGMA query_only=ON", file.string());
  return execute(db,
                 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                 "PRAGMA secure_delete=ON; PRAGMA journal_size_limit=67108864;"
                 "PRAGMA cache_size=-16384",
                 file.string());
}

Status migrate(sqlite3* db, const std::string& file) {
  TRIMTAB_TRY(const std::int64_t id, pragma(db, "PRAGMA application_id", file));
  TRIMTAB_TRY(const std::int64_t version, pragma(db, "PRAGMA user_version", file));
  TRIMTAB_TRY(const std::int64_t tables, pragma(db, "SELECT count(*) FROM sqlite_master", file));
  if (id != kApplicationId && (id != 0 || tables != 0)) {
    return fail(Code::kCorrupt,
                file + ": is a SQLite file, but not trimtab's; give another folder");
  }
  if (version > kStateSchema) {
    return fail(Code::kCorrupt, file + ": has schema " + std::to_string(version) +
                                    ", this trimtab knows " + std::to_string(kStateSchema) +
                                    ": run the newer trimtab again");
  }
  if (version == kStateSchema) return {};
  TRIMTAB_CHECK_OK(execute(db, "BEGIN EXCLUSIVE", file));
  Status done;
  for (std::int64_t at = version; done && at < kStateSchema; ++at) {
    done = execute(db, kMigrations[at], file);
  }
  if (done) {
    done = execute(db,
                   "PRAGMA application_id=" + std::to_string(kApplicationId) +
                       "; PRAGMA user_version=" + std::to_string(kStateSchema) + "; COMMIT",
                   file);
  }
  if (!done) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  return done;
}

}  // namespace trimtab::daemon
