// Pools, D of a pair, the shadow gate and the offline screen.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "shadow/offline_screen.h"
#include "shadow/pools.h"
#include "shadow/scorer.h"
#include "shadow/shadow_gate.h"

namespace trimtab::shadow {
namespace {

constexpr std::int64_t kOnset = 1'000'000;

LabelledRecord record(int i, Selection selection = Selection::kRandom) {
  LabelledRecord made;
  made.id = "r" + std::to_string(i);
  made.unit = "u" + std::to_string(i);
  made.source = "s" + std::to_string(i % 3);
  made.ts_ms = kOnset + (i % 2 == 0 ? i : -i - 1);
  made.selection = selection;
  made.known_good = "answer " + std::to_string(i);
  return made;
}

std::vector<LabelledRecord> records(int count) {
  std::vector<LabelledRecord> made;
  for (int i = 0; i < count; ++i) made.push_back(record(i));
  return made;
}

TEST(Pools, EvaluationUnitsAreAStableShare) {
  int inside = 0;
  for (int i = 0; i < 10'000; ++i) inside += is_evaluation_unit("u" + std::to_string(i), 0.5);
  EXPECT_NEAR(5'000, inside, 250);
  // A smaller share is a subset of a larger one: widening it never turns training into evaluation
  // data for a unit that stays out.
  for (int i = 0; i < 1'000; ++i) {
    const std::string unit = "u" + std::to_string(i);
    if (is_evaluation_unit(unit, 0.2)) {
      EXPECT_TRUE(is_evaluation_unit(unit, 0.5));
    }
  }
}

TEST(Pools, OnlyLabelsAskedForIndependentlyOfTheAnswerCount) {
  LabelledRecord one = record(1, Selection::kUser);
  EXPECT_FALSE(label_counts(one)) << "corrections exist only where the champion failed";
  one.selection = Selection::kJudge;
  EXPECT_FALSE(label_counts(one));
  one.hash_sampled = true;
  EXPECT_TRUE(label_counts(one));
  one.known_good.clear();
  EXPECT_FALSE(label_counts(one));
}

TEST(Pools, FrozenSplitAtTheOnsetDrawnOnceInASeededOrder) {
  auto some = records(400);
  some.push_back(record(7));                       // a duplicate
  some.push_back(record(1000, Selection::kUser));  // a correction
  const FrozenPool::Params params{.onset_ms = kOnset, .eval_share = 1.0, .seed = 5};
  FrozenPool pool = FrozenPool::freeze(some, params);
  EXPECT_EQ(200u, pool.size(Stratum::kNew));
  EXPECT_EQ(200u, pool.size(Stratum::kOld));
  EXPECT_EQ(2u, pool.left_out());
  // Order of input does not matter, the seed does.
  std::reverse(some.begin(), some.end());
  EXPECT_EQ(pool.digest(), FrozenPool::freeze(some, params).digest());
  EXPECT_NE(pool.digest(),
            FrozenPool::freeze(some, {.onset_ms = kOnset, .eval_share = 1.0, .seed = 6}).digest());
  std::set<std::string> drawn;
  for (int batch = 0; batch < 10; ++batch) {
    for (const auto& item : pool.draw(Stratum::kNew, 33)) {
      EXPECT_GE(item.ts_ms, kOnset);
      EXPECT_TRUE(drawn.insert(item.id).second) << "twice";
    }
    pool = FrozenPool::restore(*parse_json(dump_json(pool.save()))).value();
  }
  EXPECT_EQ(200u, drawn.size());
  EXPECT_EQ(0u, pool.left(Stratum::kNew));
  EXPECT_EQ(200u, pool.left(Stratum::kOld));
  Json tampered = pool.save();
  tampered["new"][0]["known_good"] = "something else";
  EXPECT_FALSE(FrozenPool::restore(tampered));
}

TEST(Pools, TrainingUnitsNeverEnter) {
  const FrozenPool pool =
      FrozenPool::freeze(records(2'000), {.onset_ms = kOnset, .eval_share = 0.3, .seed = 1});
  EXPECT_NEAR(600, static_cast<double>(pool.size(Stratum::kNew) + pool.size(Stratum::kOld)), 80);
  for (const auto& item : pool.items(Stratum::kNew)) {
    EXPECT_TRUE(is_evaluation_unit("u" + item.id.substr(1), 0.3));
  }
}

TEST(Pools, AnAdvisoryPoolTakesAnyTextSinceTheOnsetAndNothingElse) {
  std::vector<LabelledRecord> some;
  for (int i = 0; i < 100; ++i) some.push_back(record(i, Selection::kUser));
  const FrozenPool strict =
      FrozenPool::freeze(some, {.onset_ms = kOnset, .eval_share = 1.0, .seed = 1});
  EXPECT_EQ(0u, strict.size(Stratum::kNew) + strict.size(Stratum::kOld));
  const FrozenPool pool = FrozenPool::freeze(
      some, {.onset_ms = kOnset, .eval_share = 1.0, .seed = 1, .advisory = true});
  EXPECT_EQ(50u, pool.size(Stratum::kNew));
  EXPECT_EQ(0u, pool.size(Stratum::kOld));
}

TEST(Pools, CapsPerSourceAndGoldenFiles) {
  const FrozenPool pool =
      FrozenPool::freeze(records(300), {.onset_ms = kOnset, .eval_share = 1.0, .seed = 1});
  const auto capped = capped_by_source(pool.items(Stratum::kNew), 100, 10);
  EXPECT_EQ(30u, capped.size());
  TempFolder folder;
  const auto path = folder.path() / "golden.jsonl";
  ASSERT_TRUE(write_atomic(path,
                           "{\"input\":\"hi\",\"output\":\"greeting\"}\n\n"
                           "{\"input\":[{\"role\":\"user\",\"content\":\"x\"}],"
                           "\"output\":\"y\"}\n"));
  const auto golden = read_golden(path.string());
  ASSERT_TRUE(golden) << golden.error().message;
  EXPECT_EQ(2u, golden->size());
  EXPECT_EQ("golden-3", (*golden)[1].id);
  ASSERT_TRUE(write_atomic(path, "{\"input\":\"hi\",\"output\":\"a\"}\n{\"input\":3}\n"));
  const auto bad = read_golden(path.string());
  ASSERT_FALSE(bad);
  EXPECT_NE(std::string::npos, bad.error().message.find("golden.jsonl:2:"));
}

ScoreResult scored(std::optional<bool> champion, std::optional<bool> candidate, int tokens = 3) {
  ScoreResult result;
  result.champion.match = champion;
  result.candidate.match = candidate;
  result.champion.tokens = result.candidate.tokens = tokens;
  return result;
}

TEST(PairDifference, MatchForShortLikelihoodForLongNeverAClippedLogProbability) {
  const Plan plan;
  EXPECT_EQ(1.0, *pair_difference(scored(false, true), plan));
  EXPECT_EQ(-1.0, *pair_difference(scored(true, false), plan));
  EXPECT_EQ(0.0, *pair_difference(scored(true, true), plan));
  EXPECT_FALSE(pair_difference(scored(std::nullopt, true), plan));
  EXPECT_FALSE(pair_difference(scored(true, true, 0), plan)) << "length unknown";
  ScoreResult longer = scored(true, true, 100);
  EXPECT_FALSE(pair_difference(longer, plan)) << "no likelihood";
  longer.champion.mean_logprob = -1.0;
  longer.candidate.mean_logprob = -0.5;
  EXPECT_NEAR(std::exp(-0.5) - std::exp(-1.0), *pair_difference(longer, plan), 1e-12);
  longer.candidate.mean_logprob = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(pair_difference(longer, plan));
  longer.candidate.mean_logprob = 3.0;  // not a probability
  EXPECT_FALSE(pair_difference(longer, plan));
  Plan judged;
  judged.score = config::PairScore::kJudge;
  EXPECT_FALSE(pair_difference(longer, judged));
  longer.judge = 0.4;
  EXPECT_FALSE(pair_difference(longer, judged)) << "a judge says -1, 0 or 1";
  longer.judge = -1.0;
  EXPECT_EQ(-1.0, *pair_difference(longer, judged));
  Plan by_metric;
  by_metric.score = config::PairScore::kChrf;
  EXPECT_FALSE(pair_difference(longer, by_metric)) << "no metric";
  longer.champion.text_metric = 0.25;
  longer.candidate.text_metric = 0.75;
  EXPECT_EQ(0.5, *pair_difference(longer, by_metric));
}

TEST(Scorer, FormatsThereAndBack) {
  const std::vector<ScoreItem> items = {{"r1", R"([{"role":"user","content":"hi"}])", "greet"}};
  const auto input = score_input(items);
  ASSERT_TRUE(input);
  EXPECT_EQ(
      "{\"id\":\"r1\",\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}],"
      "\"text\":\"greet\"}\n",
      *input);
  const std::vector<ScoreItem> bad = {{"r1", "not json", "x"}};
  EXPECT_FALSE(score_input(bad));
  const auto output = parse_score_output(
      R"({"id":"r1","results":[{"adapter":null,"greedy":"a","match":false,)"
      R"("mean_logprob":null,"tokens":2},)"
      R"({"adapter":"B","greedy":"greet","match":true,"mean_logprob":-0.1,"tokens":2}]})"
      "\n");
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_FALSE((*output)[0].champion.mean_logprob);
  EXPECT_EQ(1.0, *pair_difference((*output)[0], Plan{}));
  EXPECT_FALSE(parse_score_output("{\"id\":\"r1\",\"results\":[]}\n"));
  EXPECT_FALSE(parse_score_output("{\n"));
}

Plan demo_plan() {
  Plan plan;
  plan.margin = 0.05;
  return plan;
}

TEST(ShadowGate, ShipsOnlySuperiorOnNewAndNonInferiorOnOld) {
  Random random(11);
  ShadowGate gate(demo_plan(), false, false);
  EXPECT_FALSE(gate.verdict().ship);
  for (int i = 0; i < 60; ++i) gate.add(Stratum::kNew, scored(false, random.chance(0.8)));
  EXPECT_TRUE(gate.verdict().strata[0].superior);
  EXPECT_FALSE(gate.verdict().ship) << "old is not decided";
  EXPECT_EQ(0u, gate.next_batch().fresh) << "a decided stratum gets nothing more";
  EXPECT_GT(gate.next_batch().old, 0u);
  for (int i = 0; i < 300; ++i) gate.add(Stratum::kOld, scored(true, random.chance(0.99)));
  EXPECT_TRUE(gate.verdict().ship) << gate.verdict().message;
  const auto again = ShadowGate::restore(demo_plan(), *parse_json(dump_json(gate.save())));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(dump_json(to_json(gate.verdict())), dump_json(to_json(again->verdict())));
  EXPECT_EQ(gate.verdict(), *parse_shadow_verdict(to_json(gate.verdict())));
  EXPECT_FALSE(ShadowGate::restore(Plan{}, gate.save())) << "another plan";
}

TEST(ShadowGate, ANoPastTargetNeedsNoOldButAnEmptyOldOtherwiseNeverPasses) {
  ShadowGate past(demo_plan(), false, false), none(demo_plan(), false, true);
  for (auto* gate : {&past, &none}) {
    for (int i = 0; i < 100; ++i) gate->add(Stratum::kNew, scored(false, true));
    gate->set_exhausted(Stratum::kOld);
  }
  EXPECT_FALSE(past.verdict().ship);
  EXPECT_TRUE(past.verdict().exhausted);
  EXPECT_TRUE(none.verdict().ship);
}

TEST(ShadowGate, EqualIsNotShippedUnlessThePlanSaysNonInferior) {
  Plan operators = demo_plan();
  operators.ship = config::Ship::kNonInferior;
  ShadowGate improve(demo_plan(), false, false), equal(operators, false, false);
  for (auto* gate : {&improve, &equal}) {
    for (int i = 0; i < 400; ++i) {
      gate->add(Stratum::kNew, scored(true, true));
      gate->add(Stratum::kOld, scored(true, true));
    }
    gate->set_exhausted(Stratum::kNew);
    gate->set_exhausted(Stratum::kOld);
  }
  EXPECT_FALSE(improve.verdict().ship);
  EXPECT_TRUE(improve.verdict().exhausted);
  EXPECT_TRUE(equal.verdict().ship);
}

TEST(ShadowGate, HarmAndMissingPairs) {
  Random random(3);
  ShadowGate gate(demo_plan(), false, false);
  for (int i = 0; i < 200; ++i) gate.add(Stratum::kOld, scored(random.chance(0.9), false));
  EXPECT_TRUE(gate.verdict().harm);
  EXPECT_EQ("old", gate.verdict().harm_on);
  Plan small = demo_plan();
  small.shadow_max_pairs = 50;
  ShadowGate missing(small, false, false);
  for (int i = 0; i < 50; ++i) missing.add(Stratum::kNew, scored(std::nullopt, std::nullopt));
  EXPECT_EQ(0u, missing.verdict().pairs);
  EXPECT_EQ(50u, missing.verdict().missing);
  EXPECT_FALSE(missing.verdict().ship);
  EXPECT_TRUE(missing.verdict().exhausted) << "missing pairs use up the budget";
}

TEST(ShadowGate, AdvisoryAsksForPairsWithoutHarm) {
  Plan plan = demo_plan();
  plan.shadow_advisory_pairs = 30;
  ShadowGate gate(plan, true, false);
  ScoreResult result = scored(true, true, 50);
  result.champion.mean_logprob = result.candidate.mean_logprob = -0.3;
  result.champion.greedy = result.candidate.greedy = "as long";
  for (int i = 0; i < 29; ++i) gate.add(Stratum::kNew, result);
  EXPECT_FALSE(gate.verdict().ship);
  gate.add(Stratum::kNew, result);
  EXPECT_TRUE(gate.verdict().ship);
  ShadowGate worse(plan, true, false);
  result.candidate.greedy = std::string(500, 'x');
  for (int i = 0; i < 60; ++i) worse.add(Stratum::kNew, result);
  EXPECT_TRUE(worse.verdict().harm);
  EXPECT_EQ("length", worse.verdict().harm_on);
}

TEST(OfflineScreen, NamesWhatFails) {
  const Plan plan = demo_plan();
  std::vector<ScoreResult> good(40, scored(false, true)), same(40, scored(true, true)),
      bad(40, scored(true, false));
  std::vector<ScoreResult> little = same;
  little[0] = scored(true, false);
  little[1] = scored(true, false);
  little[2] = scored(true, false);
  EXPECT_TRUE(offline_screen(plan, {same, {}, good}).passed);
  EXPECT_EQ("harm_on_holdout", offline_screen(plan, {bad, {}, good}).failure);
  EXPECT_EQ("worse_on_holdout", offline_screen(plan, {little, {}, good}).failure);
  EXPECT_EQ("harm_on_holdout", offline_screen(plan, {same, bad, good}).failure)
      << "the golden set counts, too";
  EXPECT_EQ("no_gain_on_new", offline_screen(plan, {same, {}, same}).failure);
  EXPECT_EQ("no_holdout", offline_screen(plan, {{}, {}, good}).failure);
  EXPECT_TRUE(offline_screen(plan, {{}, {}, good, true}).passed);
  EXPECT_EQ("no_new_pairs", offline_screen(plan, {same, {}, {}}).failure);
  OfflineScores advisory{{}, {}, same};
  advisory.advisory = true;
  EXPECT_TRUE(offline_screen(plan, advisory).passed) << "the A/B decides";
  advisory.holdout = bad;
  EXPECT_EQ("harm_on_holdout", offline_screen(plan, advisory).failure);
  Plan operators = plan;
  operators.ship = config::Ship::kNonInferior;
  EXPECT_TRUE(offline_screen(operators, {same, {}, same}).passed);
  std::vector<ScoreResult> unusable(40, scored(std::nullopt, true));
  EXPECT_EQ("no_holdout", offline_screen(plan, {unusable, {}, good}).failure);
}

}  // namespace
}  // namespace trimtab::shadow
