// Opening, transactions, closing. Reads: state_store_queries.cpp; writes: state_store_writes.cpp.
#include "daemon/state_store.h"

#include "base/check.h"
#include "daemon/state_store_sqlite.h"

namespace trimtab::daemon {

StateQueries::Connection::~Connection() {
  for (auto& [sql, statement] : statements) sqlite3_finalize(statement);
  if (db != nullptr) sqlite3_close_v2(db);
}

Result<Statement> StateQueries::Connection::prepare(std::string_view sql) {
  const auto known = statements.find(sql);
  if (known != statements.end()) return Statement(db, known->second, file);
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db, code, sql, file);
  statements.emplace(std::string(sql), statement);
  return Statement(db, statement, file);
}

Status StateQueries::Connection::execute(const char* sql) {
  const int code = sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db, code, sql, file);
  return {};
}

Result<std::int64_t> StateQueries::Connection::scalar(std::string_view sql) {
  TRIMTAB_TRY(auto statement, prepare(sql));
  TRIMTAB_TRY(const bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

StateQueries::StateQueries(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}
StateQueries::~StateQueries() = default;

StateStore::StateStore(std::unique_ptr<Connection> connection)
    : StateQueries(std::move(connection)) {}

StateStore::~StateStore() {
  CHECK(!connection().in_transaction, "a transaction outlives its store");
}

Result<std::unique_ptr<StateStore>> StateStore::open(const std::filesystem::path& file) {
  TRIMTAB_CHECK_OK(make_folders(file.has_parent_path() ? file.parent_path() : "."));
  auto connection = std::make_unique<Connection>();
  connection->file = file.string();
  TRIMTAB_TRY(auto lock, FileLock::acquire(file.string() + ".lock"));
  connection->lock.emplace(std::move(lock));
  TRIMTAB_CHECK_OK(open_database(file, true, connection->db));
  TRIMTAB_CHECK_OK(migrate(connection->db, connection->file));
  return std::unique_ptr<StateStore>(new StateStore(std::move(connection)));
}

Result<Transaction> StateStore::begin() {
  Connection& c = connection();
  CHECK(!c.in_transaction, "transactions do not nest");
  TRIMTAB_TRY(auto statement, c.prepare("BEGIN IMMEDIATE"));
  TRIMTAB_CHECK_OK(statement.run());
  c.in_transaction = true;
  c.dead = false;
  return Transaction(*this);
}

Status StateStore::checkpoint() { return connection().execute("PRAGMA wal_checkpoint(TRUNCATE)"); }

Status StateStore::scrub() {
  TRIMTAB_CHECK_OK(checkpoint());
  TRIMTAB_TRY(auto statement, connection().prepare("PRAGMA quick_check(1)"));
  TRIMTAB_TRY(const bool row, statement.step());
  const std::string verdict = row ? statement.text(0) : "no answer";
  if (verdict != "ok") {
    return fail(Code::kCorrupt, connection().file + ": quick_check: " + verdict);
  }
  return {};
}

Transaction::Transaction(Transaction&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)) {}

Transaction::~Transaction() {
  if (store_ == nullptr) return;
  auto& c = store_->connection();
  // SQLite may have rolled back by itself (disk full); then this statement fails, harmlessly.
  sqlite3_exec(c.db, "ROLLBACK", nullptr, nullptr, nullptr);
  c.in_transaction = false;
}

Status Transaction::commit() {
  CHECK(store_ != nullptr, "commit of a finished transaction");
  auto& c = store_->connection();
  if (c.dead) return fail(Code::kInternal, c.file + ": commit after a failed write");
  // From here on SQLite decides; on failure the destructor rolls back.
  TRIMTAB_CHECK_OK(c.execute("COMMIT"));
  c.in_transaction = false;
  store_ = nullptr;
  return {};
}

StateReader::StateReader(std::unique_ptr<Connection> connection)
    : StateQueries(std::move(connection)) {}

Result<std::unique_ptr<StateReader>> StateReader::open(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) {
    return fail(Code::kNotFound, file.string() + ": no such state file");
  }
  auto connection = std::make_unique<Connection>();
  connection->file = file.string();
  TRIMTAB_CHECK_OK(open_database(file, false, connection->db));
  return std::unique_ptr<StateReader>(new StateReader(std::move(connection)));
}

}  // namespace trimtab::daemon
