// Between trials: cool-down, tries, tombstones, the lifetime error budget, undo, reverse shadow.
#include "shadow/history.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "shadow/reverse_shadow.h"

namespace trimtab::shadow {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;

config::PromotionSettings settings() {
  config::PromotionSettings made;
  made.cooldown_ms = 1'000;
  made.max_tries = 3;
  made.retry_growth = 0.5;
  return made;
}

AdapterRef adapter(const std::string& name) { return {name, "sha-" + name, "/a/" + name, "", ""}; }

Trial ended(State state, const std::string& name, std::uint64_t data_size = 100) {
  NewTrial wish;
  wish.id = "trial-" + name;
  wish.target = "bot";
  wish.candidate = adapter(name);
  wish.origin = Origin::kDrift;
  wish.alarm_id = "al-1";
  wish.data_size = data_size;
  Trial trial = make_trial(wish, kStart).value();
  trial.state = state;
  trial.end_reason = Reason::kHorizonReached;
  return trial;
}

TEST(TargetHistory, CoolDownHoldsBackAutomaticJobsOnly) {
  TargetHistory history;
  EXPECT_FALSE(history.on_end(ended(State::kInconclusive, "a"), settings(), kStart));
  const auto start = [&](Origin origin, std::uint64_t size, std::int64_t now) {
    return history.may_start(origin, "al-1", "digest", size, settings(), now).has_value();
  };
  EXPECT_FALSE(start(Origin::kDrift, 1'000, kStart + 999));
  EXPECT_TRUE(start(Origin::kManual, 0, kStart + 1));
  EXPECT_TRUE(start(Origin::kJob, 0, kStart + 1));
  EXPECT_FALSE(start(Origin::kDrift, 149, kStart + 1'000)) << "data grew by less than half";
  EXPECT_TRUE(start(Origin::kDrift, 150, kStart + 1'000));
  EXPECT_TRUE(history.may_retry("al-2", 1, settings(), kStart + 1'000)) << "another drift";
}

TEST(TargetHistory, ThreeTriesThenAnAlert) {
  TargetHistory history;
  EXPECT_FALSE(history.on_end(ended(State::kRejected, "a", 100), settings(), kStart));
  EXPECT_FALSE(history.on_end(ended(State::kInconclusive, "b", 150), settings(), kStart));
  EXPECT_TRUE(history.on_end(ended(State::kRejected, "c", 225), settings(), kStart));
  const auto refused = history.may_retry("al-1", 100'000, settings(), kStart + 5'000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(Code::kConflict, refused.error().code);
}

TEST(TargetHistory, AbortedAndSupersededAreNoTries) {
  TargetHistory history;
  history.on_end(ended(State::kAborted, "a"), settings(), kStart);
  history.on_end(ended(State::kSuperseded, "b"), settings(), kStart);
  EXPECT_TRUE(history.may_retry("al-1", 1, settings(), kStart + 5'000));
}

TEST(TargetHistory, TombstonesComeFromHarmOnlyAndCanBeLifted) {
  TargetHistory history;
  history.on_end(ended(State::kRejected, "a"), settings(), kStart);
  EXPECT_FALSE(history.has_tombstone("sha-a"));
  Trial harmful = ended(State::kRolledBack, "b");
  harmful.harm = true;
  history.on_end(harmful, settings(), kStart);
  EXPECT_TRUE(history.has_tombstone("sha-b"));
  EXPECT_FALSE(history.may_start(Origin::kManual, "", "sha-b", 0, settings(), kStart + 9'999));
  EXPECT_TRUE(history.lift_tombstone("sha-b"));
  EXPECT_FALSE(history.lift_tombstone("sha-b"));
  EXPECT_TRUE(history.may_start(Origin::kManual, "", "sha-b", 0, settings(), kStart + 9'999));
}

TEST(TargetHistory, TheErrorBudgetSumsAYear) {
  TargetHistory history;
  const auto one_day = config::kDayMs;
  for (int day = 0; day < 3; ++day) {
    history.on_end(ended(State::kInconclusive, "a"), settings(), kStart + day * one_day);
  }
  const auto window = settings().budget_window_ms;
  EXPECT_NEAR(0.15, history.alpha_spent(window, kStart + 3 * one_day), 1e-12);
  EXPECT_NEAR(0.05, history.alpha_spent(window, kStart + window + one_day), 1e-12);
  EXPECT_EQ(0.0, history.alpha_spent(window, kStart + window + 3 * one_day));
}

TEST(TargetHistory, UndoGoesBackAndForwardAndPausesJobs) {
  TargetHistory history;  // the bare base serves
  EXPECT_FALSE(history.resolve_undo("previous"));
  history.on_end(ended(State::kPromoted, "a"), settings(), kStart);
  history.on_end(ended(State::kPromoted, "b"), settings(), kStart + 10);
  EXPECT_EQ("b", history.champion().name);
  EXPECT_EQ("a", history.resolve_undo("previous")->name);
  EXPECT_TRUE(history.resolve_undo("base")->bare_base());
  const auto same = history.resolve_undo("b");
  ASSERT_FALSE(same);
  EXPECT_EQ(Code::kConflict, same.error().code);
  const auto unknown = history.resolve_undo("zzz");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(Code::kNotFound, unknown.error().code);
  EXPECT_NE(std::string::npos, unknown.error().message.find("a"));

  history.on_undo(*history.resolve_undo("previous"), kStart + 20);
  EXPECT_EQ("a", history.champion().name);
  EXPECT_TRUE(history.jobs_paused());
  EXPECT_FALSE(history.may_retry("al-9", 1'000, settings(), kStart + 99'999));
  auto restored = TargetHistory::restore(*parse_json(dump_json(history.save())));
  ASSERT_TRUE(restored) << restored.error().message;
  history = *restored;
  history.on_undo(*history.resolve_undo("b"), kStart + 30);  // forward again
  EXPECT_EQ("b", history.champion().name);
  EXPECT_FALSE(history.jobs_paused());
  EXPECT_TRUE(history.names("a"));
  EXPECT_FALSE(history.names("zzz"));
  history.on_undo(AdapterRef{}, kStart + 40);
  EXPECT_TRUE(history.champion().bare_base());
  EXPECT_TRUE(history.jobs_paused());
  history.resume_jobs();
  EXPECT_TRUE(history.may_retry("al-9", 1, settings(), kStart + 99'999));
}

TEST(TargetHistory, KeepsThreeFormerChampions) {
  TargetHistory history;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    history.on_end(ended(State::kPromoted, name), settings(), kStart);
  }
  ASSERT_EQ(3u, history.kept().size());
  EXPECT_EQ("d", history.kept()[0].name);
  EXPECT_FALSE(history.names("a"));
  EXPECT_EQ(dump_json(history.save()), dump_json(TargetHistory::restore(history.save())->save()));
  EXPECT_FALSE(TargetHistory::restore(Json::object()));
}

TEST(ReverseShadow, OnlySoonAfterAPromotionAndOnlyTheShipRuleUndoes) {
  TargetHistory history;
  auto wish = settings();
  wish.reverse_shadow_within_ms = 10'000;
  wish.reverse_shadow_dwell_ms = 500;
  EXPECT_FALSE(start_reverse_shadow(history, "bot", "al-2", wish, kStart));
  history.on_end(ended(State::kPromoted, "a"), wish, kStart);
  EXPECT_FALSE(start_reverse_shadow(history, "bot", "al-2", wish, kStart + 10'001));
  const auto reverse = start_reverse_shadow(history, "bot", "al-2", wish, kStart + 100);
  ASSERT_TRUE(reverse);
  EXPECT_TRUE(reverse->predecessor.bare_base());
  EXPECT_EQ("a", reverse->champion.name);
  ShadowVerdict verdict;
  EXPECT_EQ(ReverseVerdict::kWait, decide(*reverse, verdict, kStart + 200));
  EXPECT_EQ(ReverseVerdict::kKeepChampion, decide(*reverse, verdict, kStart + 600));
  verdict.ship = true;
  EXPECT_EQ(ReverseVerdict::kUndo, decide(*reverse, verdict, kStart + 200));
  verdict.advisory = true;
  EXPECT_EQ(ReverseVerdict::kKeepChampion, decide(*reverse, verdict, kStart + 200));
  verdict = {};
  verdict.harm = true;
  EXPECT_EQ(ReverseVerdict::kKeepChampion, decide(*reverse, verdict, kStart + 200));
  const auto again = parse_reverse_shadow(to_json(*reverse));
  ASSERT_TRUE(again);
  EXPECT_EQ(dump_json(to_json(*reverse)), dump_json(to_json(*again)));
}

}  // namespace
}  // namespace trimtab::shadow
