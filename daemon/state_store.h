// StateStore: everything the daemon must not forget, in one SQLite file.
//
// WAL, synchronous FULL: a committed batch survives a power cut. One writer, the control thread;
// each batch is one Transaction that holds detector state, journal rows and Kafka offsets
// together, so that state and offsets can never disagree. HTTP threads read through a StateReader
// of their own (a second, read-only connection: a consistent snapshot per query).
//
// Schema: versioned (PRAGMA user_version), migrated forward at open in one transaction; a newer
// schema is refused by name. Bounds: trim() and the retention of the record store.
// Errors: kIo when the disk is full or says no (the transaction is rolled back: pause, alert, try
// again later), kCorrupt for a file that is not ours or is damaged. A failed fsync aborts the
// process, for what the kernel then holds is unknown (OPERATIONS.md section 5, fault 8).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/record_batch.h"
#include "daemon/state_rows.h"

struct sqlite3;
struct sqlite3_stmt;

namespace trimtab::daemon {

inline constexpr int kStateSchema = 2;

// Reads, legal on the writer (inside a transaction it sees its own writes) and on a reader. One
// thread per object.
class StateQueries {
 public:
  virtual ~StateQueries();
  StateQueries(const StateQueries&) = delete;
  StateQueries& operator=(const StateQueries&) = delete;

  [[nodiscard]] Result<std::map<TopicPartition, std::int64_t>> offsets();
  // kNotFound when nothing is kept under the key.
  [[nodiscard]] Result<std::string> blob(std::string_view target, std::string_view key);
  [[nodiscard]] Result<std::vector<std::string>> blob_keys(std::string_view target);
  [[nodiscard]] Result<Document> document(std::string_view kind, std::string_view id);
  // In order of creation; newest_first reverses. Empty target or state: any.
  [[nodiscard]] Result<std::vector<Document>> documents(std::string_view kind,
                                                        std::string_view target = {},
                                                        std::string_view state = {},
                                                        std::int64_t limit = 1'000,
                                                        bool newest_first = false);
  [[nodiscard]] Result<std::vector<Event>> events(const EventQuery& query);
  [[nodiscard]] Result<std::int64_t> last_event_seq();
  // The event that a command with this key left, if it was seen before.
  [[nodiscard]] Result<std::optional<Event>> event_by_key(std::string_view idempotency_key);
  [[nodiscard]] Result<std::vector<Intent>> intents(std::optional<IntentState> state = {},
                                                    std::string_view target = {},
                                                    std::int64_t limit = 10'000);
  [[nodiscard]] Result<std::vector<DecisionRow>> decisions(std::string_view subject,
                                                           std::string_view stream,
                                                           std::int64_t after_seq = 0,
                                                           std::int64_t limit = 100'000);
  [[nodiscard]] Result<std::int64_t> count_decisions(std::string_view subject,
                                                     std::string_view stream);
  [[nodiscard]] Result<std::optional<RecordRow>> record_by_id(std::string_view target,
                                                              std::string_view id);
  // The newest stored record with this id (or trace id), whatever its target.
  [[nodiscard]] Result<std::optional<RecordRow>> record_for_feedback(std::string_view id,
                                                                     std::string_view trace_id);
  [[nodiscard]] Result<std::vector<RecordRow>> records(const RecordQuery& query);
  // The earliest event time of a target's records in [since, until); empty: there is none.
  [[nodiscard]] Result<std::optional<std::int64_t>> first_record_ms(std::string_view target,
                                                                    std::int64_t since_ms,
                                                                    std::int64_t until_ms);
  [[nodiscard]] Result<std::vector<LabelRow>> labels(const LabelQuery& query);
  [[nodiscard]] Result<std::int64_t> count_labels(const LabelQuery& query);
  // All of them, of whole answers, in no order; no text is read.
  [[nodiscard]] Result<std::vector<CorrectionRow>> corrections(const LabelQuery& query);
  [[nodiscard]] Result<std::optional<FeedbackRow>> feedback(std::string_view feedback_id);
  [[nodiscard]] Result<std::vector<FeedbackRow>> pending_feedback(std::int64_t limit);
  [[nodiscard]] Result<std::int64_t> count_feedback_of(std::int64_t record_row);
  [[nodiscard]] Result<std::vector<Segment>> segments();
  [[nodiscard]] Result<std::vector<RecordRow>> records_of_person(std::uint64_t user_hash,
                                                                 std::uint64_t session_hash);
  [[nodiscard]] Result<std::vector<RecordRow>> records_in_segment(std::int64_t segment);
  // The remembered id hashes, oldest first: one string of 8-byte little-endian values a batch.
  [[nodiscard]] Result<std::vector<std::string>> seen_batches();

 protected:
  struct Connection;
  explicit StateQueries(std::unique_ptr<Connection> connection);
  [[nodiscard]] Connection& connection() { return *connection_; }

 private:
  std::unique_ptr<Connection> connection_;
};

class StateStore;

// Everything written between begin() and commit() becomes durable together, or not at all: the
// destructor rolls back. After any write that failed the transaction is dead; only drop it.
class Transaction {
 public:
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  [[nodiscard]] Status commit();

  // Offsets only move forward; kConflict when a range starts behind what is stored (a batch that
  // was applied already: skip it). A gap in front of `first` is legal.
  [[nodiscard]] Status advance_offsets(const std::vector<OffsetRange>& ranges);
  // `trimtab offsets reset`: moves anywhere. The caller journals it.
  [[nodiscard]] Status reset_offset(const TopicPartition& where, std::int64_t next);
  [[nodiscard]] Status put_blob(std::string_view target, std::string_view key,
                                std::string_view value);
  [[nodiscard]] Status remove_blob(std::string_view target, std::string_view key);
  // All whose key begins with `prefix` (not empty).
  [[nodiscard]] Status remove_blobs(std::string_view target, std::string_view prefix);
  // The id hashes of this batch join the window; the oldest batches beyond `window` leave it.
  [[nodiscard]] Status append_seen(const std::vector<std::uint64_t>& hashes, std::size_t window);
  // Insert or replace; keeps created_ms and seq of an existing one.
  [[nodiscard]] Status put(const Document& document);
  [[nodiscard]] Status remove(std::string_view kind, std::string_view id);
  // 1, 2, 3.. per name: for al-<n>, job-<n>, trial-<n>, routing generations.
  [[nodiscard]] Result<std::int64_t> next_number(std::string_view name);
  // Returns seq. kConflict when the idempotency key was used before.
  [[nodiscard]] Result<std::int64_t> append(const Event& event);
  // Returns the id; the existing one when the key is known.
  [[nodiscard]] Result<std::int64_t> add(const Intent& intent);
  [[nodiscard]] Status finish_intent(std::int64_t id, IntentState state, std::string_view result,
                                     std::int64_t now_ms);
  [[nodiscard]] Status count_attempt(std::int64_t id, std::int64_t now_ms);
  [[nodiscard]] Result<std::int64_t> append_decision(std::string_view subject,
                                                     std::string_view stream,
                                                     std::string_view data);
  // Returns the row. The same (target, id) again replaces nothing and returns the first row.
  [[nodiscard]] Result<std::int64_t> add_record(const RecordRow& record);
  [[nodiscard]] Status set_text(std::int64_t row, const TextPosition& text);
  // Upsert by feedback_id; false (and no change) when a newer or equal one is stored.
  [[nodiscard]] Result<bool> put_feedback(const FeedbackRow& feedback);
  [[nodiscard]] Status join_feedback(std::string_view feedback_id, std::int64_t record_row,
                                     std::string_view target);
  [[nodiscard]] Status quarantine(std::string_view feedback_id, bool on);
  // Releases all quarantined feedback of a target (and source_id, unless empty); returns how many.
  [[nodiscard]] Result<std::int64_t> release_quarantine(std::string_view target,
                                                        std::string_view source_id);
  [[nodiscard]] Status remove_feedback(std::string_view feedback_id);
  [[nodiscard]] Status put_segment(const Segment& segment);
  // The segment, its records' rows and their feedback.
  [[nodiscard]] Status remove_segment(std::int64_t segment);
  // A record's row and its feedback.
  [[nodiscard]] Status remove_record(std::int64_t row);
  // Returns the number of rows removed.
  [[nodiscard]] Result<std::int64_t> trim(const Retention& retention);

 private:
  friend class StateStore;
  explicit Transaction(StateStore& store) : store_(&store) {}
  StateStore* store_;  // null once committed, rolled back or moved from
};

class StateStore final : public StateQueries {
 public:
  // Creates or migrates. kConflict when another process has it open for writing (a lock file lies
  // beside it), kCorrupt when it is not trimtab's or has a newer schema.
  [[nodiscard]] static Result<std::unique_ptr<StateStore>> open(const std::filesystem::path& file);
  ~StateStore() override;

  // REQUIRES: no other transaction of this store is open.
  [[nodiscard]] Result<Transaction> begin();
  // Truncates the WAL; called when idle and at close.
  [[nodiscard]] Status checkpoint();
  // Overwrites what was deleted (erasure): PRAGMA secure_delete is on; this also empties the WAL
  // and runs an integrity check. Slow.
  [[nodiscard]] Status scrub();

 private:
  friend class Transaction;
  explicit StateStore(std::unique_ptr<Connection> connection);
};

// A read-only connection for an HTTP thread; each query sees the last committed batch.
class StateReader final : public StateQueries {
 public:
  // kNotFound when the store was never created.
  [[nodiscard]] static Result<std::unique_ptr<StateReader>> open(const std::filesystem::path& file);

 private:
  explicit StateReader(std::unique_ptr<Connection> connection);
};

}  // namespace trimtab::daemon
