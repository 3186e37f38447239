// RecordStore: the texts of a stable hash-sample of the units, for training, shadow pairs and
// examples (HOUSE.md section 3, "Record store").
//
// Append-only segments `records/seg-<n>.zst`: a header, then blocks of zstd-compressed JSON lines
// with length and checksum. Positions live in SQLite (state_rows.h); a block counts only once the
// transaction that names it has committed: at open, files are cut back to the committed length, so
// a torn tail or an orphan block disappears. Texts are redacted before they are written.
// Control thread only, except read(), which is const and opens its own file handle.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/record.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {

// A record as it was stored: canonical JSON in one line, RECORDS.md section 1, readable by the
// decoder and by `trimtab backtest`.
struct StoredRecord {
  std::string json;
};

// What erase() did.
struct Erased {
  std::int64_t records = 0;
  std::int64_t feedback = 0;
  std::int64_t segments_rewritten = 0;
  std::vector<std::string> record_ids;
};

class RecordStore {
 public:
  using Redactor = std::function<std::string(std::string_view)>;

  // Repairs the segments to what `state` committed. `redact` may be empty (settings.redact off).
  [[nodiscard]] static Result<std::unique_ptr<RecordStore>> open(
      const std::filesystem::path& folder, const config::StoreSettings& settings, StateStore& state,
      Redactor redact);
  ~RecordStore();

  // Is the unit in the sample? Stable: the same answer for all its records and restarts.
  [[nodiscard]] bool samples(std::string_view unit) const;
  // Adds a record's text to the open block. nullopt when the rate bound of this second is reached
  // (counted in skipped()). `ts` of the bound is arrival time.
  [[nodiscard]] std::optional<TextPosition> append(const InferenceRecord& record,
                                                   std::int64_t now_ms);
  // Writes the open block, fsyncs, and records the new length in the transaction. After OK the
  // positions handed out are valid once the transaction commits. Once a transaction, before its
  // commit; unless rollback() follows, the transaction is taken to have committed.
  [[nodiscard]] Status flush(Transaction& transaction, std::int64_t now_ms);
  // The transaction did not commit: cut the file back and forget the open block.
  [[nodiscard]] Status rollback();

  // kNotFound when retention or erasure took it, kCorrupt when the checksum fails.
  [[nodiscard]] Result<StoredRecord> read(const TextPosition& position) const;

  // Drops whole segments by age and by total bytes, oldest first; returns those dropped. Files are
  // unlinked after the commit, by sweep().
  [[nodiscard]] Result<std::vector<std::int64_t>> retain(Transaction& transaction,
                                                         std::int64_t now_ms);
  // Unlinks files that no committed segment row names.
  [[nodiscard]] Status sweep();

  // Removes every record of a user or a session (either may be empty): texts (segments are
  // rewritten), rows, joined feedback. Runs transactions of its own; call it outside one.
  [[nodiscard]] Result<Erased> erase(std::string_view user_id, std::string_view session_id,
                                     std::int64_t now_ms);

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::int64_t bytes() const;

 private:
  struct State;
  explicit RecordStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The canonical JSON line of a record (without redaction): what is stored, and what the dead simple
// consumer of RECORDS.md would send. `redact` is applied to prompt, answer and tool calls.
void append_record_json(const InferenceRecord& record, const RecordStore::Redactor& redact,
                        std::string& out);

// Hash of a user or session id as kept in RecordRow; never 0.
[[nodiscard]] std::uint64_t person_hash(std::string_view kind, std::string_view id);

}  // namespace trimtab::daemon
