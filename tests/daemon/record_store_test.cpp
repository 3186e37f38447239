// Texts on disk: sampled, masked, torn tails, retention, erasure. And feedback finding its record.
#include "daemon/record_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "base/redaction.h"
#include "daemon/feedback_join.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kNow = 1'763'860'000'000;

void ok(const Status& status) { EXPECT_TRUE(status) << status.error().message; }
template <typename T>
T ok(Result<T> result) {
  EXPECT_TRUE(result) << result.error().message;
  return std::move(*result);
}

class RecordStoreTest : public testing::Test {
 protected:
  RecordStoreTest() : codec_(*RecordCodec::create({}, {"bot"})) { settings_.max_records_per_s = 0; }

  void open() {
    records_.reset();
    state_.reset();
    state_ = ok(StateStore::open(folder_.path() / "trimtab.db"));
    records_ = ok(RecordStore::open(folder_.path() / "records", settings_, *state_,
                                    [](std::string_view text) { return redact(text); }));
  }

  // Stores a record and its row in the open transaction.
  RecordRow add(Transaction& write, const std::string& id, const std::string& user,
                const std::string& input, std::int64_t now_ms = kNow) {
    const std::string json = R"({"id":")" + id + R"(","target":"bot","user_id":")" + user +
                             R"(","trace_id":"t-)" + id + R"(","ts":1763859000000,"input":")" +
                             input + R"(","output":"yes"})";
    const Decoded decoded = codec_.decode(json, kNow, kNow, arena_);
    const auto& record = std::get<InferenceRecord>(decoded);
    RecordRow row;
    row.target = record.target;
    row.id = record.id;
    row.trace_id = record.trace_id;
    row.ts_ms = record.ts_ms;
    row.user_hash = person_hash("user", record.user_id);
    if (const auto text = records_->append(record, now_ms)) row.text = *text;
    row.row = ok(write.add_record(row));
    return row;
  }

  void commit(Transaction& write, std::int64_t now_ms = kNow) {
    ok(records_->flush(write, now_ms));
    ok(write.commit());
  }

  std::string text_of(const std::string& id) {
    const auto row = ok(state_->record_by_id("bot", id));
    if (!row) return "no row";
    const auto read = records_->read(row->text);
    return read ? read->json : std::string(code_name(read.error().code));
  }
  std::filesystem::path segment(int number) const {
    char name[32];
    std::snprintf(name, sizeof(name), "seg-%08d.zst", number);
    return folder_.path() / "records" / name;
  }

  TempFolder folder_;
  config::StoreSettings settings_;
  RecordCodec codec_;
  TextArena arena_;
  std::unique_ptr<StateStore> state_;
  std::unique_ptr<RecordStore> records_;
};

TEST_F(RecordStoreTest, WhatIsStoredIsReadBackAcrossARestart) {
  open();
  for (int batch = 0; batch < 3; ++batch) {
    auto write = ok(state_->begin());
    for (int i = 0; i < 50; ++i) {
      add(write, "r" + std::to_string(batch * 50 + i), "u", "hello " + std::to_string(i));
    }
    commit(write);
  }
  open();
  for (int n = 0; n < 150; ++n) {
    const std::string text = text_of("r" + std::to_string(n));
    EXPECT_NE(text.find("\"id\":\"r" + std::to_string(n) + "\""), std::string::npos) << text;
    EXPECT_NE(text.find("hello " + std::to_string(n % 50)), std::string::npos) << text;
  }
  auto write = ok(state_->begin());
  add(write, "later", "u", "more");
  commit(write);
  EXPECT_NE(text_of("later").find("more"), std::string::npos);
}

TEST_F(RecordStoreTest, PersonalDataIsMaskedBeforeItReachesTheDisk) {
  open();
  auto write = ok(state_->begin());
  add(write, "a", "u", "write to jane.doe@example.com please");
  commit(write);
  const std::string text = text_of("a");
  EXPECT_EQ(text.find("jane.doe"), std::string::npos) << text;
  EXPECT_NE(text.find("[EMAIL]"), std::string::npos) << text;
}

TEST_F(RecordStoreTest, ATornTailAndAnOrphanBlockDisappear) {
  open();
  {
    auto write = ok(state_->begin());
    add(write, "kept", "u", "kept");
    commit(write);
  }
  {
    auto write = ok(state_->begin());
    add(write, "lost", "u", "lost");
    ok(records_->flush(write, kNow));
  }  // written to the segment, never committed: as a crash between the two leaves it
  std::ofstream(segment(1), std::ios::app) << "torn tail";
  open();
  EXPECT_NE(text_of("kept").find("kept"), std::string::npos);
  EXPECT_EQ(text_of("lost"), "no row");
  auto write = ok(state_->begin());
  add(write, "after", "u", "after");
  commit(write);
  open();
  EXPECT_NE(text_of("after").find("after"), std::string::npos);
}

TEST_F(RecordStoreTest, ARolledBackBatchIsForgotten) {
  open();
  {
    auto write = ok(state_->begin());
    add(write, "a", "u", "first");
    ok(records_->flush(write, kNow));
  }
  ok(records_->rollback());
  {
    auto write = ok(state_->begin());
    add(write, "b", "u", "second");
    commit(write);
  }
  EXPECT_EQ(text_of("a"), "no row");
  EXPECT_NE(text_of("b").find("second"), std::string::npos);
}

TEST_F(RecordStoreTest, DamageIsNamed) {
  open();
  {
    auto write = ok(state_->begin());
    add(write, "a", "u", "text");
    commit(write);
  }
  {
    std::fstream file(segment(1), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(50);
    file.put('!');
  }
  EXPECT_EQ(text_of("a"), code_name(Code::kCorrupt));
  std::filesystem::resize_file(segment(1), 20);
  records_.reset();
  const auto reopened = RecordStore::open(folder_.path() / "records", settings_, *state_, nullptr);
  ASSERT_FALSE(reopened);
  EXPECT_EQ(reopened.error().code, Code::kCorrupt);
}

TEST_F(RecordStoreTest, SegmentsCloseAndRetentionDropsTheOldest) {
  settings_.segment_bytes = 2'000;
  settings_.retention_bytes = 20'000;
  settings_.retention_age_ms = 1'000'000;
  open();
  Random random(3);
  for (int batch = 0; batch < 60; ++batch) {
    auto write = ok(state_->begin());
    std::string noise;
    for (int i = 0; i < 700; ++i) noise += static_cast<char>('a' + random.below(26));
    add(write, "r" + std::to_string(batch), "u", noise, kNow + batch);
    commit(write, kNow + batch);
  }
  EXPECT_GT(ok(state_->segments()).size(), 5U);
  {
    auto write = ok(state_->begin());
    EXPECT_FALSE(ok(records_->retain(write, kNow + 100)).empty());
    ok(write.commit());
    ok(records_->sweep());
  }
  EXPECT_LE(records_->bytes(), 20'000 + 2'000);
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  EXPECT_EQ(text_of("r0"), "no row");
  EXPECT_NE(text_of("r59").find("r59"), std::string::npos);
  {
    auto write = ok(state_->begin());
    (void)ok(records_->retain(write, kNow + 2'000'000));
    ok(write.commit());
    ok(records_->sweep());
  }
  std::int64_t closed = 0;
  for (const Segment& left : ok(state_->segments())) closed += left.closed ? 1 : 0;
  EXPECT_EQ(closed, 0);
}

TEST_F(RecordStoreTest, AnErasedUserLeavesNothingBehind) {
  settings_.segment_bytes = 400;
  open();
  for (int batch = 0; batch < 12; ++batch) {
    auto write = ok(state_->begin());
    for (int i = 0; i < 10; ++i) {
      const std::string id = std::to_string(batch * 10 + i);
      const bool jane = i % 5 == 0;
      const RecordRow row =
          add(write, "r" + id, jane ? "jane" : "u" + id, jane ? "janes secret" : "other " + id);
      FeedbackRow feedback;
      feedback.feedback_id = "f" + id;
      feedback.record_id = "r" + id;
      feedback.record_row = row.row;
      feedback.correction = jane ? "janes correction" : "fine";
      (void)ok(write.put_feedback(feedback));
    }
    commit(write);
  }
  const Erased erased = ok(records_->erase("jane", "", kNow));
  EXPECT_EQ(erased.records, 24);
  EXPECT_EQ(erased.feedback, 24);
  EXPECT_GT(erased.segments_rewritten, 1);
  for (int n = 0; n < 120; ++n) {
    const std::string id = std::to_string(n);
    if (n % 5 == 0) {
      EXPECT_EQ(text_of("r" + id), "no row");
      EXPECT_FALSE(ok(state_->feedback("f" + id)));
    } else {
      EXPECT_NE(text_of("r" + id).find("other " + id), std::string::npos) << n;
      EXPECT_TRUE(ok(state_->feedback("f" + id)));
    }
  }
  // Neither in the database nor in its log is a word of hers.
  for (const char* name : {"trimtab.db", "trimtab.db-wal"}) {
    const auto bytes = read_file(folder_.path() / name);
    if (bytes) {
      EXPECT_EQ(bytes->find("janes"), std::string::npos) << name;
    }
  }
  // Writing goes on, over a restart too.
  {
    auto write = ok(state_->begin());
    add(write, "next", "u", "next");
    commit(write);
  }
  open();
  EXPECT_NE(text_of("next").find("next"), std::string::npos);
  EXPECT_NE(text_of("r1").find("other 1"), std::string::npos);
  EXPECT_EQ(ok(records_->erase("jane", "", kNow)).records, 0);
  EXPECT_EQ(records_->erase("", "", kNow).error().code, Code::kInvalid);
}

TEST_F(RecordStoreTest, TheSampleIsStableAndTheRateIsBounded) {
  settings_.rate = 0.25;
  settings_.max_records_per_s = 10;
  open();
  int sampled = 0;
  for (int n = 0; n < 10'000; ++n) sampled += records_->samples("u" + std::to_string(n)) ? 1 : 0;
  EXPECT_NEAR(sampled, 2'500, 150);
  InferenceRecord record;
  record.id = "x";
  for (int n = 0; n < 25; ++n) (void)records_->append(record, kNow);
  EXPECT_EQ(records_->skipped(), 15U);
  EXPECT_TRUE(records_->append(record, kNow + 1'000));
}

// ---- the join

class JoinTest : public RecordStoreTest {
 protected:
  JoinTest() {
    settings_ingest_.pending_feedback = 100;
    settings_ingest_.pending_ms = 60'000;
    open();
    join_ = std::make_unique<FeedbackJoin>(settings_ingest_, metrics_);
  }
  static Feedback feedback(std::string_view id, std::string_view record, std::int64_t ts = kNow) {
    Feedback made;
    made.feedback_id = id;
    made.record_id = record;
    made.ts_ms = ts;
    made.score = 1.0;
    return made;
  }
  void reload() {
    open();
    join_ = std::make_unique<FeedbackJoin>(settings_ingest_, metrics_);
    ok(join_->load(*state_));
  }

  config::IngestSettings settings_ingest_;
  Metrics metrics_;
  std::unique_ptr<FeedbackJoin> join_;
};

TEST_F(JoinTest, EitherSideMayComeFirst) {
  auto write = ok(state_->begin());
  const RecordRow first = add(write, "a", "u", "x");
  EXPECT_TRUE(ok(join_->on_record(*state_, write, first)).empty());
  const auto joined = ok(join_->on_feedback(*state_, write, feedback("f1", "a"), kNow));
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->record.id, "a");
  EXPECT_EQ(joined->feedback.target, "bot");
  EXPECT_EQ(joined->delay_ms, 1'000'000);
  EXPECT_FALSE(joined->replaces);

  EXPECT_FALSE(ok(join_->on_feedback(*state_, write, feedback("f2", "b"), kNow)));
  Feedback by_trace = feedback("f3", "");
  by_trace.trace_id = "t-b";
  EXPECT_FALSE(ok(join_->on_feedback(*state_, write, by_trace, kNow)));
  EXPECT_EQ(join_->waiting(), 2U);
  const RecordRow second = add(write, "b", "u", "y");
  const auto late = ok(join_->on_record(*state_, write, second));
  ASSERT_EQ(late.size(), 2U);
  EXPECT_EQ(late[0].feedback.feedback_id, "f2");
  EXPECT_EQ(late[1].feedback.feedback_id, "f3");
  EXPECT_EQ(join_->waiting(), 0U);
  commit(write);
  LabelQuery query;
  query.target = "bot";
  EXPECT_EQ(ok(state_->count_labels(query)), 3);
}

TEST_F(JoinTest, TwiceIsOnceAndTheNewestWins) {
  auto write = ok(state_->begin());
  add(write, "a", "u", "x");
  EXPECT_TRUE(ok(join_->on_feedback(*state_, write, feedback("f", "a", kNow), kNow)));
  EXPECT_FALSE(ok(join_->on_feedback(*state_, write, feedback("f", "a", kNow), kNow)));
  EXPECT_FALSE(ok(join_->on_feedback(*state_, write, feedback("f", "a", kNow - 1), kNow)));
  const auto newer = ok(join_->on_feedback(*state_, write, feedback("f", "a", kNow + 1), kNow));
  ASSERT_TRUE(newer);
  EXPECT_TRUE(newer->replaces);
  commit(write);
  LabelQuery query;
  query.target = "bot";
  EXPECT_EQ(ok(state_->count_labels(query)), 1);
}

TEST_F(JoinTest, WhatWaitsSurvivesARestartAndIsBounded) {
  {
    auto write = ok(state_->begin());
    for (int n = 0; n < 150; ++n) {
      const std::string id = std::to_string(n);
      (void)ok(join_->on_feedback(*state_, write, feedback("f" + id, "r" + id), kNow + n));
    }
    commit(write);
  }
  EXPECT_EQ(join_->waiting(), 100U);
  reload();
  EXPECT_EQ(join_->waiting(), 100U);
  auto write = ok(state_->begin());
  EXPECT_EQ(ok(join_->on_record(*state_, write, add(write, "r149", "u", "x"))).size(), 1U);
  EXPECT_TRUE(ok(join_->on_record(*state_, write, add(write, "r0", "u", "x"))).empty());
  EXPECT_EQ(ok(join_->expire(write, kNow + 60'000 + 60)), 10);  // those that came before kNow + 60
  EXPECT_EQ(join_->waiting(), 89U);
  commit(write);
  EXPECT_EQ(ok(state_->pending_feedback(1'000)).size(), 89U);
}

TEST_F(JoinTest, TheWatermarkNeverGoesBackAndIsSaved) {
  join_->observe_event_time("bot", kNow);
  join_->observe_event_time("bot", kNow - 5'000);
  EXPECT_EQ(join_->watermark_ms("bot"), kNow - settings_ingest_.allowed_lateness_ms);
  EXPECT_EQ(join_->watermark_ms("other"), 0);
  const auto before = join_->watermark_ms("bot");
  auto write = ok(state_->begin());
  ok(join_->save(write));
  commit(write);
  join_->observe_event_time("bot", kNow + 60'000);  // in a step that is rolled back
  ok(join_->load(*state_));
  EXPECT_EQ(join_->watermark_ms("bot"), before);
  reload();
  EXPECT_EQ(join_->watermark_ms("bot"), before);
}

TEST_F(JoinTest, TheDelayQuantileNeedsEnoughLabels) {
  auto write = ok(state_->begin());
  for (int n = 0; n < 100; ++n) {
    const std::string id = std::to_string(n);
    add(write, "r" + id, "u", "x");
    if (n == 49) {
      EXPECT_FALSE(join_->label_delay_p95_ms("bot"));
    }
    (void)ok(join_->on_feedback(*state_, write,
                                feedback("f" + id, "r" + id, 1'763'859'000'000 + n * 1'000), kNow));
  }
  EXPECT_EQ(join_->label_delay_p95_ms("bot"), 95'000);
  ok(join_->save(write));
  commit(write);
  reload();
  EXPECT_EQ(join_->label_delay_p95_ms("bot"), 95'000) << "forgotten by a restart";
}

}  // namespace
}  // namespace trimtab::daemon
