// The only door to SQLite: a connection with cached statements. Private to state_store*.cpp.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"
#include "base/result.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

// Turns SQLite's code into ours. A failed fsync aborts the process.
[[nodiscard]] tl::unexpected<Error> sqlite_error(sqlite3* db, int code, std::string_view doing,
                                                 const std::string& file);

// A cached statement in use; parameters are bound in order, the destructor makes it reusable.
class Statement {
 public:
  Statement(sqlite3* db, sqlite3_stmt* statement, const std::string& file)
      : db_(db), statement_(statement), file_(&file) {}
  Statement(Statement&& other) noexcept
      : db_(other.db_),
        statement_(std::exchange(other.statement_, nullptr)),
        file_(other.file_),
        next_(other.next_) {}
  Statement& operator=(Statement&&) = delete;
  ~Statement() {
    if (statement_ == nullptr) return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  Statement& bind(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++next_, value);
    return *this;
  }
  Statement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(int value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(bool value) { return bind(static_cast<std::int64_t>(value)); }
  // The text must outlive the step.
  Statement& bind(std::string_view text) {
    sqlite3_bind_text64(statement_, ++next_, text.data() == nullptr ? "" : text.data(), text.size(),
                        SQLITE_STATIC, SQLITE_UTF8);
    return *this;
  }
  Statement& bind_blob(std::string_view bytes) {
    sqlite3_bind_blob64(statement_, ++next_, bytes.data() == nullptr ? "" : bytes.data(),
                        bytes.size(), SQLITE_STATIC);
    return *this;
  }
  Statement& bind(std::optional<double> value) {
    ++next_;
    if (value) sqlite3_bind_double(statement_, next_, *value);
    return *this;
  }
  Statement& bind_text_or_null(std::string_view text) {
    if (text.empty()) {
      ++next_;
      return *this;
    }
    return bind(text);
  }

  // True: a row is there. False: done.
  [[nodiscard]] Result<bool> step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return sqlite_error(db_, code, sqlite3_sql(statement_), *file_);
  }
  [[nodiscard]] Status run() {
    for (;;) {
      TRIMTAB_TRY(const bool row, step());
      if (!row) return {};
    }
  }

  [[nodiscard]] std::int64_t integer(int column) const {
    return sqlite3_column_int64(statement_, column);
  }
  [[nodiscard]] bool is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
  }
  [[nodiscard]] std::optional<double> real(int column) const {
    if (is_null(column)) return std::nullopt;
    return sqlite3_column_double(statement_, column);
  }
  [[nodiscard]] std::string text(int column) const {
    const void* bytes = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return bytes == nullptr
               ? std::string()
               : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  const std::string* file_;
  int next_ = 0;
};

struct StateQueries::Connection {
  std::string file;
  sqlite3* db = nullptr;
  std::optional<FileLock> lock;  // the writer's
  bool in_transaction = false;
  bool dead = false;  // a write of the open transaction failed
  std::map<std::string, sqlite3_stmt*, std::less<>> statements;

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  [[nodiscard]] Result<Statement> prepare(std::string_view sql);
  [[nodiscard]] Status execute(const char* sql);
  // The single integer of a query without parameters.
  [[nodiscard]] Result<std::int64_t> scalar(std::string_view sql);
};

// Opens (and for a writer creates) the file with our settings.
[[nodiscard]] Status open_database(const std::filesystem::path& file, bool writer, sqlite3*& db);
// Brings the schema to kStateSchema, or refuses.
[[nodiscard]] Status migrate(sqlite3* db, const std::string& file);

}  // namespace trimtab::daemon
