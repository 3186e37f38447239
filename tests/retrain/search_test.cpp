// Samplers, rungs and the Pareto list on functions whose best point is known.
#include "retrain/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace trimtab::retrain {
namespace {

JobSearch settings(const std::string& sampler, const std::string& pruner = "none") {
  JobSearch s;
  s.sampler = sampler;
  s.pruner = pruner;
  s.trials = 30;
  s.space = {{.key = "optimizer.lr", .low = 1e-5, .high = 1e-1, .log = true},
             {.key = "lora.r", .values = {4, 8, 16}}};
  return s;
}

// Best at lr 1e-3, r 8; seconds grow with r.
Evaluation measured(const Study::Question& q, double share) {
  Evaluation e{q.trial, q.rung, q.point};
  const double off = std::log10(q.point[0]) + 3;
  e.new_loss = off * off + (q.point[1] == 8 ? 0 : 0.5) + 0.1 / share;
  e.forgetting = std::max(0.0, off) * 0.1;
  e.seconds = q.point[1] * share;
  return e;
}

double best_after(const JobSearch& s, std::uint64_t seed, double* seconds = nullptr) {
  Study study(s, seed);
  double total = 0;
  while (const auto question = study.next(false)) {
    auto e = measured(*question, study.share(question->rung));
    total += e.seconds;
    study.tell(e);
  }
  if (seconds != nullptr) *seconds = total;
  return study.best() == nullptr ? 1e9 : study.score(*study.best());
}

// On so small a space the best of 30 is about the same; what the others cost is not.
TEST(Search, TpeSpendsItsTrialsWhereItIsGood) {
  const auto mean_of_late = [](const std::string& sampler) {
    double total = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      Study study(settings(sampler), seed);
      for (int i = 0; i < 30; ++i) {
        const auto question = study.next(false);
        if (!question) break;
        study.tell(measured(*question, 1));
        if (i >= 10) total += study.score(study.evaluations().back()) / 400;
      }
    }
    return total;
  };
  EXPECT_LT(mean_of_late("tpe"), 0.7 * mean_of_late("random"));
}

TEST(Search, GridVisitsEveryPointOnce) {
  JobSearch s = settings("grid");
  s.trials = 1000;
  Study study(s, 1);
  std::set<std::vector<double>> seen;
  while (const auto question = study.next(false)) {
    seen.insert(question->point);
    study.tell(measured(*question, 1));
  }
  EXPECT_EQ(seen.size(), 12U);  // 4 x 3
  EXPECT_EQ(study.evaluations().size(), 12U);
  EXPECT_NEAR(study.best()->point[1], 8, 0);
}

TEST(Search, AshaSpendsLessForAboutTheSame) {
  double whole = 0, pruned = 0;
  const double all = best_after(settings("random"), 3, &whole);
  const double asha = best_after(settings("random", "asha"), 3, &pruned);
  EXPECT_LT(pruned, 0.6 * whole);
  EXPECT_LT(asha, all + 0.6);
}

TEST(Search, RungsPromoteOneInEta) {
  Study study(settings("random", "asha"), 5);
  std::map<std::int64_t, int> at;
  while (const auto question = study.next(false)) {
    ++at[question->rung];
    study.tell(measured(*question, study.share(question->rung)));
  }
  EXPECT_EQ(at[0], 30);
  EXPECT_GE(at[1], 10);  // asynchronous: early promotions may later fall out of the top third
  EXPECT_LE(at[1], 20);
  EXPECT_GE(at[2], 3);
  EXPECT_NEAR(study.share(0), 1.0 / 9, 1e-12);
  EXPECT_NEAR(study.share(2), 1, 1e-12);
}

TEST(Search, ToldAgainItAsksTheSame) {
  const JobSearch s = settings("tpe", "asha");
  Study first(s, 8);
  std::vector<Evaluation> told;
  for (int i = 0; i < 25; ++i) {
    const auto question = first.next(false);
    ASSERT_TRUE(question);
    told.push_back(measured(*question, first.share(question->rung)));
    first.tell(told.back());
    Study again(s, 8);
    for (const auto& e : told) again.tell(e);
    const auto a = first.next(false), b = again.next(false);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(a->trial, b->trial);
    EXPECT_EQ(a->rung, b->rung);
    EXPECT_EQ(a->point, b->point);
  }
}

TEST(Search, OutOfBudgetStillEndsWithAnAdapter) {
  Study study(settings("random", "asha"), 2);
  auto question = study.next(true);  // nothing ran yet: one trial has to
  int asked = 0;
  while (question) {
    ++asked;
    study.tell(measured(*question, study.share(question->rung)));
    question = study.next(true);
  }
  EXPECT_EQ(asked, 3);
  ASSERT_NE(study.best(), nullptr);
  EXPECT_EQ(study.best()->trial, 0);
}

TEST(Search, FailuresNeverWinAndTheParetoListIsUnbeaten) {
  Study study(settings("random"), 4);
  int n = 0;
  while (const auto question = study.next(false)) {
    auto e = measured(*question, 1);
    if (n++ % 3 == 0) e = Evaluation{question->trial, 0, question->point, 0, 0, 0, "nan_loss"};
    study.tell(e);
  }
  ASSERT_NE(study.best(), nullptr);
  EXPECT_TRUE(study.best()->failure.empty());
  const auto pareto = study.pareto();
  ASSERT_FALSE(pareto.empty());
  for (const auto* kept : pareto) {
    EXPECT_TRUE(kept->failure.empty());
    for (const auto& other : study.evaluations()) {
      if (!other.failure.empty()) continue;
      EXPECT_FALSE(other.new_loss < kept->new_loss && other.forgetting < kept->forgetting &&
                   other.seconds < kept->seconds);
    }
  }
  Study hopeless(settings("random"), 4);
  for (int i = 0; i < 30; ++i) {
    const auto question = hopeless.next(false);
    ASSERT_TRUE(question);
    hopeless.tell({question->trial, 0, question->point, 0, 0, 0, "nan_loss"});
  }
  EXPECT_FALSE(hopeless.next(false));
  EXPECT_EQ(hopeless.best(), nullptr);
}

}  // namespace
}  // namespace trimtab::retrain
