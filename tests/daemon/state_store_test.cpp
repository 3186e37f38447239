// The state file: one transaction a batch, whole or absent; schema; bounds; faults.
#include "daemon/state_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/files.h"
#include "daemon/dedupe_window.h"

namespace trimtab::daemon {
namespace {

class StateStoreTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path file() const { return folder_.path() / "trimtab.db"; }
  [[nodiscard]] std::unique_ptr<StateStore> open() const {
    auto store = StateStore::open(file());
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  TempFolder folder_;
};

template <typename T>
T ok(Result<T> result) {
  EXPECT_TRUE(result) << result.error().message;
  return std::move(*result);
}
void ok(const Status& status) { EXPECT_TRUE(status) << status.error().message; }

TEST_F(StateStoreTest, CommitsStateAndOffsetsTogetherOrNotAtAll) {
  {
    auto store = open();
    {
      auto write = ok(store->begin());
      ok(write.advance_offsets({{"t", 0, 0, 9}}));
      ok(write.put_blob("bot", "monitor", std::string("a\0b", 3)));
      ok(write.commit());
    }
    {
      auto write = ok(store->begin());
      ok(write.advance_offsets({{"t", 0, 10, 19}}));
      ok(write.put_blob("bot", "monitor", "lost"));
    }  // rolled back
  }
  auto store = open();
  EXPECT_EQ(ok(store->offsets()).at({"t", 0}), 10);
  EXPECT_EQ(ok(store->blob("bot", "monitor")), std::string("a\0b", 3));
  EXPECT_EQ(store->blob("bot", "other").error().code, Code::kNotFound);
}

TEST_F(StateStoreTest, ABatchAppliedTwiceIsRefused) {
  auto store = open();
  auto write = ok(store->begin());
  ok(write.advance_offsets({{"t", 0, 5, 9}, {"t", 1, 0, 0}}));
  const Status again = write.advance_offsets({{"t", 0, 9, 12}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  ok(write.advance_offsets({{"t", 0, 12, 12}}));  // a gap is legal (aborted messages)
  ok(write.reset_offset({"t", 0}, 3));            // an operator may go back
  ok(write.commit());
  EXPECT_EQ(ok(store->offsets()).at({"t", 0}), 3);
}

TEST_F(StateStoreTest, ASecondWriterIsRefusedAndAReaderSeesOnlyCommits) {
  auto store = open();
  const auto second = StateStore::open(file());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);

  auto reader = ok(StateReader::open(file()));
  auto write = ok(store->begin());
  ok(write.put({"job", "job-1", "bot", "running", "{}", 1, 1, 0}));
  EXPECT_EQ(reader->document("job", "job-1").error().code, Code::kNotFound);
  EXPECT_EQ(ok(store->document("job", "job-1")).state, "running");
  ok(write.commit());
  EXPECT_EQ(ok(reader->document("job", "job-1")).target, "bot");
}

TEST_F(StateStoreTest, DocumentsKeepTheirOrderAndCreation) {
  auto store = open();
  auto write = ok(store->begin());
  ok(write.put({"trial", "trial-1", "bot", "SHADOW", "{\"a\":1}", 10, 10, 0}));
  ok(write.put({"trial", "trial-2", "cat", "SHADOW", "{}", 11, 11, 0}));
  ok(write.put({"trial", "trial-1", "bot", "CANARY", "{\"a\":2}", 99, 20, 0}));
  ok(write.commit());
  const auto all = ok(store->documents("trial"));
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].id, "trial-1");
  EXPECT_EQ(all[0].created_ms, 10);
  EXPECT_EQ(all[0].updated_ms, 20);
  EXPECT_EQ(all[0].data, "{\"a\":2}");
  EXPECT_EQ(ok(store->documents("trial", "", "", 1, true))[0].id, "trial-2");
  EXPECT_EQ(ok(store->documents("trial", "bot", "SHADOW")).size(), 0U);
}

TEST_F(StateStoreTest, JournalRefusesAUsedIdempotencyKey) {
  auto store = open();
  auto write = ok(store->begin());
  Event event;
  event.kind = "command";
  event.idempotency_key = "k1";
  event.subject = "trial-1";
  EXPECT_EQ(ok(write.append(event)), 1);
  EXPECT_EQ(write.append(event).error().code, Code::kConflict);
  event.idempotency_key.clear();
  event.target = "bot";
  EXPECT_EQ(ok(write.append(event)), 2);
  EXPECT_EQ(ok(write.append(event)), 3);
  ok(write.commit());
  EventQuery query;
  query.subject = "trial-1";
  query.after_seq = 1;
  EXPECT_EQ(ok(store->events(query)).size(), 2U);
  query.newest_first = true;
  query.limit = 1;
  query.target = "bot";
  EXPECT_EQ(ok(store->events(query)).at(0).seq, 3);
  EXPECT_EQ(ok(store->event_by_key("k1"))->seq, 1);
  EXPECT_EQ(ok(store->last_event_seq()), 3);
}

TEST_F(StateStoreTest, IntentsAreIdempotentByKey) {
  auto store = open();
  auto write = ok(store->begin());
  Intent intent;
  intent.key = "load:a";
  intent.kind = "load";
  const auto id = ok(write.add(intent));
  EXPECT_EQ(ok(write.add(intent)), id);
  ok(write.count_attempt(id, 5));
  EXPECT_EQ(ok(store->intents(IntentState::kPending)).at(0).attempts, 1);
  ok(write.finish_intent(id, IntentState::kApplied, "{}", 6));
  EXPECT_TRUE(ok(store->intents(IntentState::kPending)).empty());
  EXPECT_EQ(ok(store->intents()).at(0).state, IntentState::kApplied);
  ok(write.commit());
}

RecordRow record(const std::string& id, std::int64_t ts, bool eval) {
  RecordRow row;
  row.target = "bot";
  row.id = id;
  row.trace_id = "trace-" + id;
  row.ts_ms = ts;
  row.eval = eval;
  row.user_hash = 0xfedcba9876543210ULL;  // survives the signed column
  row.text = {1, 16, 0, 10};
  return row;
}

TEST_F(StateStoreTest, LabelsAreFoundByTheirFilter) {
  auto store = open();
  auto write = ok(store->begin());
  for (int i = 0; i < 10; ++i) {
    const std::string id = "r" + std::to_string(i);
    const auto row = ok(write.add_record(record(id, 1000 + i, i % 2 == 0)));
    FeedbackRow feedback;
    feedback.feedback_id = "f" + std::to_string(i);
    feedback.record_id = id;
    feedback.selection = i < 5 ? "random" : "user";
    feedback.score = i / 10.0;
    feedback.correction = i == 3 ? "" : "right";
    feedback.ts_ms = 2000 + i;
    EXPECT_TRUE(ok(write.put_feedback(feedback)));
    ok(write.join_feedback(feedback.feedback_id, row, "bot"));
  }
  ok(write.commit());
  LabelQuery query;
  query.target = "bot";
  EXPECT_EQ(ok(store->count_labels(query)), 10);
  query.selection = "random";
  query.eval = false;
  auto rows = ok(store->labels(query));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].record.id, "r1");
  EXPECT_EQ(rows[0].record.user_hash, 0xfedcba9876543210ULL);
  EXPECT_EQ(rows[1].feedback.feedback_id, "f3");
  query.with_correction = true;
  EXPECT_EQ(ok(store->count_labels(query)), 1);
  query = LabelQuery{};
  query.target = "bot";
  query.since_ms = 1004;
  query.until_ms = 1006;
  EXPECT_EQ(ok(store->count_labels(query)), 2);
  EXPECT_EQ(ok(store->record_for_feedback("", "trace-r4"))->id, "r4");
  EXPECT_EQ(ok(store->records_of_person(0xfedcba9876543210ULL, 0)).size(), 10U);
}

TEST_F(StateStoreTest, NewestFeedbackWins) {
  auto store = open();
  auto write = ok(store->begin());
  FeedbackRow feedback;
  feedback.feedback_id = "f";
  feedback.ts_ms = 10;
  feedback.score = 1.0;
  EXPECT_TRUE(ok(write.put_feedback(feedback)));
  EXPECT_FALSE(ok(write.put_feedback(feedback)));  // the same again
  feedback.ts_ms = 9;
  feedback.score = 0.0;
  EXPECT_FALSE(ok(write.put_feedback(feedback)));
  feedback.ts_ms = 11;
  EXPECT_TRUE(ok(write.put_feedback(feedback)));
  ok(write.commit());
  EXPECT_EQ(ok(store->feedback("f"))->score, 0.0);
}

TEST_F(StateStoreTest, TheSeenWindowIsBounded) {
  auto store = open();
  DedupeWindow window(100);
  for (std::uint64_t batch = 0; batch < 50; ++batch) {
    auto write = ok(store->begin());
    for (std::uint64_t i = 0; i < 7; ++i) EXPECT_TRUE(window.stage(batch * 7 + i + 1));
    ok(write.append_seen(window.staged(), 100));
    ok(write.commit());
    window.commit();
  }
  DedupeWindow loaded(100);
  std::size_t bytes = 0;
  for (const auto& batch : ok(store->seen_batches())) {
    bytes += batch.size();
    loaded.load(batch);
  }
  EXPECT_LE(bytes, (100U + 7U) * 8U);
  EXPECT_GE(bytes, 100U * 8U);
  for (std::uint64_t key = 1; key <= 350; ++key) {
    EXPECT_EQ(loaded.contains(key), window.contains(key)) << key;
    EXPECT_EQ(window.contains(key), key > 250) << key;
  }
}

TEST_F(StateStoreTest, ANewerSchemaAndAForeignFileAreRefusedByName) {
  { auto store = open(); }
  ASSERT_EQ(std::system(("sqlite3 " + file().string() + " 'PRAGMA user_version=99'").c_str()), 0);
  const auto newer = StateStore::open(file());
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("schema 99"), std::string::npos) << newer.error().message;

  const auto other = folder_.path() / "other.db";
  ASSERT_EQ(std::system(("sqlite3 " + other.string() + " 'CREATE TABLE x(a)'").c_str()), 0);
  EXPECT_EQ(StateStore::open(other).error().code, Code::kCorrupt);

  const auto text = folder_.path() / "text.db";
  ok(write_atomic(text, std::string(4096, 'x')));
  EXPECT_EQ(StateStore::open(text).error().code, Code::kCorrupt);
}

// Disk full, as the kernel says it: a file size limit makes write() fail. The transaction is
// rolled back, the store stays usable, and after room was made it goes on.
TEST_F(StateStoreTest, DiskFullRollsBackAndResumes) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    auto store = StateStore::open(file());
    if (!store) _exit(2);
    {
      auto write = (*store)->begin();
      if (!write->put_blob("bot", "before", "1") || !write->commit()) _exit(3);
    }
    rlimit limit{512 * 1024, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    {
      auto write = (*store)->begin();
      Status wrote = write->put_blob("bot", "big", std::string(8 << 20, 'x'));
      if (wrote) wrote = write->commit();
      if (wrote) _exit(4);
      if (wrote.error().code != Code::kIo) _exit(5);
    }
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    auto write = (*store)->begin();
    if (!write) _exit(6);
    if (!write->put_blob("bot", "after", "2") || !write->commit()) _exit(7);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0);
  auto store = open();
  EXPECT_EQ(ok(store->blob("bot", "before")), "1");
  EXPECT_EQ(ok(store->blob("bot", "after")), "2");
  EXPECT_FALSE(store->blob("bot", "big"));
}

TEST(DedupeWindow, RollbackLeavesNoTrace) {
  DedupeWindow window(4);
  EXPECT_TRUE(window.stage(1));
  EXPECT_FALSE(window.stage(1));
  window.rollback();
  EXPECT_FALSE(window.contains(1));
  EXPECT_TRUE(window.stage(1));
  window.commit();
  EXPECT_FALSE(window.stage(1));
  for (std::uint64_t key = 2; key <= 5; ++key) {
    EXPECT_TRUE(window.stage(key * 8));
    window.commit();
  }
  EXPECT_FALSE(window.contains(1));
  EXPECT_EQ(window.size(), 4U);
}

}  // namespace
}  // namespace trimtab::daemon
