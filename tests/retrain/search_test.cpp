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

// Three continuous dimensions and one choice: the best of 40 by TPE against the best of 40 at
// random, over 40 seeds, and what all its later trials cost.
TEST(Search, TpeFindsABetterPointThanRandom) {
  const auto space = [](const std::string& sampler) {
    JobSearch s = settings(sampler);
    s.trials = 40;
    s.space.push_back({.key = "data.replay_share", .low = 0, .high = 0.9});
    s.space.push_back({.key = "epochs", .low = 1, .high = 9});
    return s;
  };
  struct Means {
    double best = 0, late = 0;
  };
  std::vector<double> random_best;
  const auto measure = [&](const std::string& sampler, std::vector<double>& bests) {
    Means means;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      Study study(space(sampler), seed);
      double best = 1e9;
      for (int i = 0; i < 40; ++i) {
        const auto question = study.next(false);
        if (!question) break;
        auto e = measured(*question, 1);
        e.forgetting = e.seconds = 0;
        e.new_loss = e.new_loss - 0.1 + std::pow(2 * (question->point[2] - 0.6), 2) +
                     std::pow((question->point[3] - 4) / 4, 2);
        best = std::min(best, e.new_loss);
        if (i >= 20) means.late += e.new_loss / 800;
        study.tell(e);
      }
      bests.push_back(best);
      means.best += best / 40;
    }
    return means;
  };
  std::vector<double> tpe_best;
  const Means random = measure("random", random_best), tpe = measure("tpe", tpe_best);
  int wins = 0;
  for (std::size_t i = 0; i < tpe_best.size(); ++i) wins += tpe_best[i] < random_best[i] ? 1 : 0;
  RecordProperty("random_best", std::to_string(random.best));
  RecordProperty("tpe_best", std::to_string(tpe.best));
  std::printf("best of 40: random %.4f, tpe %.4f, tpe ahead in %d of 40; late trials %.3f, %.3f\n",
              random.best, tpe.best, wins, random.late, tpe.late);
  EXPECT_LT(tpe.best, 0.7 * random.best);
  EXPECT_GE(wins, 26);  // a fair coin: 4 in 100
  EXPECT_LT(tpe.late, 0.5 * random.late);
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
