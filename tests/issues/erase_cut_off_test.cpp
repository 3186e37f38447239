// An erasure that was cut off after the person's rows were gone could never finish: job data and
// scored pairs were found by those rows. Rows go last now, so that asking again finds the rest.
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "daemon/erase.h"
#include "daemon/record_codec.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kNow = 1'763'860'000'000;

TEST(Erase, CutOffAnywhereItIsFinishedByAskingAgain) {
  TempFolder folder("erase");
  config::Settings settings;
  settings.state.dir = folder.path().string();
  auto state = StateStore::open(folder.path() / "trimtab.db");
  ASSERT_TRUE(state);
  auto records = RecordStore::open(folder.path() / "records", settings.store, **state, {});
  ASSERT_TRUE(records);
  auto codec = RecordCodec::create({}, {"bot"});
  ASSERT_TRUE(codec);
  TextArena arena;
  auto tx = (*state)->begin();
  ASSERT_TRUE(tx);
  for (const char* id : {"a", "b"}) {
    const std::string json = std::string(R"({"id":")") + id + R"(","target":"bot","user_id":"u)" +
                             id + R"(","input":"hello","output":"yes"})";
    const Decoded decoded = codec->decode(arena.keep(json), kNow, kNow, arena);
    const auto& record = std::get<InferenceRecord>(decoded);
    RecordRow row;
    row.target = record.target;
    row.id = record.id;
    row.user_hash = person_hash("user", record.user_id);
    row.text = *(*records)->append(record, kNow);
    ASSERT_TRUE(tx->add_record(row));
  }
  ASSERT_TRUE((*records)->flush(*tx, kNow));
  ASSERT_TRUE(tx->commit());
  const auto data = folder.path() / "jobs/job-1/train.jsonl";
  ASSERT_TRUE(make_folders(data.parent_path()));
  ASSERT_TRUE(write_atomic(data, "{\"id\":\"a\",\"x\":1}\n{\"id\":\"b\",\"x\":2}\n"));

  const CommandRequest command{.verb = "erase", .actor = "t", .body = R"({"user":"ua"})"};
  using Ids = std::set<std::string>;
  using Units = std::set<std::uint64_t>;
  Ids asked;
  const auto cut_off = [&](const Ids& ids, const Units&) -> Status {
    asked = ids;
    return fail(Code::kIo, "cut off");
  };
  EXPECT_GE(erase_person(command, settings, **state, **records, kNow, cut_off).status, 500);
  EXPECT_EQ(asked, std::set<std::string>{"a"});
  const auto whole = [&](const Ids& ids, const Units&) -> Status {
    asked = ids;
    return {};
  };
  const auto answer = erase_person(command, settings, **state, **records, kNow, whole);
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(asked, std::set<std::string>{"a"}) << "the rows were gone already";
  EXPECT_EQ(*read_file(data), "{\"id\":\"b\",\"x\":2}\n");
  const auto body = parse_json(answer.body);
  EXPECT_EQ(body->at("records"), 1);
  EXPECT_EQ(body->at("jobs_cleaned"), 1);
}

}  // namespace
}  // namespace trimtab::daemon
