// state.keep_adapters and state.keep_jobs were read by nothing: the state folder grew for ever.
#include <gtest/gtest.h>

#include "base/files.h"
#include "daemon/retention.h"

namespace trimtab::daemon {
namespace {

namespace fs = std::filesystem;

class RetentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.dir = folder_.path().string();
    settings_.keep_adapters = 3;
    settings_.keep_jobs = 2;
    auto opened = StateStore::open(folder_.path() / "trimtab.db");
    ASSERT_TRUE(opened);
    store_ = std::move(*opened);
  }
  void add(const char* kind, const char* files, const std::string& id, const std::string& state) {
    ASSERT_TRUE(make_folders(folder_.path() / files / id));
    auto tx = store_->begin();
    ASSERT_TRUE(tx);
    ASSERT_TRUE(tx->put({.kind = kind, .id = id, .target = "bot", .state = state, .data = "{}"}));
    ASSERT_TRUE(tx->commit());
  }
  void sweep(const std::string& named) {
    const auto doomed = beyond_retention(*store_, "bot", settings_,
                                         [&](const auto& adapter) { return adapter == named; });
    ASSERT_TRUE(doomed) << doomed.error().message;
    auto tx = store_->begin();
    ASSERT_TRUE(tx);
    ASSERT_TRUE(remove_doomed(*tx, folder_.path(), "bot", *doomed, 1'000));
    ASSERT_TRUE(tx->commit());
  }
  bool there(const std::string& path) const { return fs::exists(folder_.path() / path); }

  TempFolder folder_;
  config::StateSettings settings_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(RetentionTest, TheNewestStayAndWhatIsNamed) {
  for (int i = 1; i <= 6; ++i) add("adapter", "adapters", "bot-" + std::to_string(i), "made");
  for (int i = 1; i <= 5; ++i) {
    add("job", "jobs", "job-" + std::to_string(i), i == 1 ? "running" : "ok");
    add("trial", "scores", "trial-" + std::to_string(i), i == 2 ? "SHADOW" : "REJECTED");
  }
  for (int i = 1; i <= 5; ++i) {
    const std::string id = "al-" + std::to_string(i);
    add("alarm", "scores", id, i == 3 ? "answered" : "closed");
    fs::rename(folder_.path() / "scores" / id, folder_.path() / "scores" / ("reverse-" + id));
  }
  sweep("bot-1");
  for (int i = 1; i <= 6; ++i) {
    EXPECT_EQ(there("adapters/bot-" + std::to_string(i)), i == 1 || i > 3) << i;
  }
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(there("jobs/job-" + std::to_string(i)), i == 1 || i > 3) << i;
    EXPECT_EQ(there("scores/trial-" + std::to_string(i)), i == 2 || i > 3) << i;
    EXPECT_EQ(there("scores/reverse-al-" + std::to_string(i)), i >= 3) << i;
  }
  EXPECT_EQ(store_->documents("adapter", "bot").value().size(), 4U);
  EXPECT_EQ(store_->documents("job", "bot").value().size(), 5U) << "what a job was stays known";
  EXPECT_EQ(store_->events({.kind = "retention"}).value().size(), 2U);
  sweep("bot-1");
  EXPECT_EQ(store_->events({.kind = "retention"}).value().size(), 2U) << "once is enough";
}

}  // namespace
}  // namespace trimtab::daemon
