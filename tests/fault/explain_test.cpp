// `trimtab explain` and `trimtab replay` over a whole scripted life: every transition and job start
// is made again from the journal and agrees; another plan decides otherwise. (The life has no
// alarm; their trails are derived again in backtest_replay_test.)
#include "daemon/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "daemon/state_store.h"
#include "tests/fault/control_scenario.h"

namespace trimtab::daemon {
namespace {

using ::testing::HasSubstr;

class ExplainTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder("explain");
    const auto ran = run_scenario(folder_->path());
    ASSERT_TRUE(ran.has_value()) << ran.error().message;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_->path())) {
      if (entry.path().filename() == "trimtab.db") file_ = entry.path();
    }
    ASSERT_FALSE(file_.empty());
    auto store = StateStore::open(file_);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  std::vector<std::string> ids(const char* kind) {
    std::vector<std::string> all;
    const auto documents = store_->documents(kind);
    EXPECT_TRUE(documents.has_value());
    for (const auto& document : *documents) all.push_back(document.id);
    return all;
  }

  static TempFolder* folder_;
  std::filesystem::path file_;
  std::unique_ptr<StateStore> store_;
};
TempFolder* ExplainTest::folder_ = nullptr;

TEST_F(ExplainTest, EveryDecisionOfALifeAgrees) {
  int decisions = 0;
  for (const char* kind : {"trial", "job"}) {
    const auto all = ids(kind);
    EXPECT_FALSE(all.empty()) << kind;
    for (const auto& id : all) {
      const auto answer = explain_subject(*store_, id);
      ASSERT_TRUE(answer.has_value()) << id << ": " << answer.error().message;
      for (const Json& decision : answer->at("decisions")) {
        EXPECT_TRUE(decision.at("agrees").get<bool>())
            << id << " " << decision.value("to", "") << ": " << decision.value("difference", "");
        ++decisions;
      }
      EXPECT_TRUE(answer->at("agrees").get<bool>()) << id;
    }
  }
  EXPECT_GE(decisions, 10);
  EXPECT_FALSE(explain_subject(*store_, "al-999").has_value());
}

TEST_F(ExplainTest, ReplayUnderTheSamePlanRepeatsAndUnderAnotherMayNot) {
  const auto trials = ids("trial");
  ASSERT_FALSE(trials.empty());
  bool shadow_shipped = false;
  for (const auto& id : trials) {
    const auto same = replay_subject(*store_, id, Json::object());
    ASSERT_TRUE(same.has_value()) << same.error().message;
    EXPECT_TRUE(same->at("same_plan").get<bool>());
    for (const Json& happened : same->at("shadow").at("happened")) {
      if (happened.at("reason") != "shadow_ship") continue;  // a forced step says nothing
      shadow_shipped = true;
      EXPECT_EQ(same->at("shadow").at("decision"), "ship") << same->dump(2);
      EXPECT_LE(same->at("shadow").at("ship_after").get<std::int64_t>(),
                happened.at("after").get<std::int64_t>());
      const auto strict = replay_subject(*store_, id, Json{{"alpha", 1e-6}});
      ASSERT_TRUE(strict.has_value());
      EXPECT_FALSE(strict->at("same_plan").get<bool>());
      const Json& later = strict->at("shadow").at("ship_after");
      EXPECT_TRUE(later.is_null() || later.get<std::int64_t>() >
                                         same->at("shadow").at("ship_after").get<std::int64_t>());
      EXPECT_THAT(strict->at("sentence").get<std::string>(), HasSubstr("in fact: "));
    }
  }
  if (!shadow_shipped) std::printf("no trial of the scenario left SHADOW by its evidence\n");
  EXPECT_FALSE(replay_subject(*store_, trials[0], Json{{"margni", 0.1}}).has_value());
  EXPECT_FALSE(replay_subject(*store_, trials[0], Json{{"alpha", 7}}).has_value());
}

}  // namespace
}  // namespace trimtab::daemon
