// What the gates promise, by simulation of whole populations: each run draws its pool and its
// traffic anew, and looks after every pair or closed unit. Seeds are printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "shadow/ab.h"
#include "shadow/pools.h"
#include "shadow/shadow_gate.h"

namespace trimtab::shadow {
namespace {

constexpr std::int64_t kOnset = 1'000'000;

// alpha plus what a 1 % one-sided test of "rate <= alpha" allows.
double allowed(double alpha, int runs) {
  return alpha + 2.326 * std::sqrt(alpha * (1.0 - alpha) / runs);
}

// Two models on one record: both right, both wrong, or one of them.
struct Models {
  double champion_only, candidate_only;  // shares of records; D = candidate_only - champion_only
  double both = 0.6;
  [[nodiscard]] std::pair<bool, bool> draw(Random& random) const {
    const double u = random.uniform();
    if (u < champion_only) return {true, false};
    if (u < champion_only + candidate_only) return {false, true};
    return {u < champion_only + candidate_only + both, u < champion_only + candidate_only + both};
  }
};

ScoreResult scored(bool champion, bool candidate) {
  ScoreResult result;
  result.champion.match = champion;
  result.candidate.match = candidate;
  result.champion.tokens = result.candidate.tokens = 3;
  return result;
}

struct World {
  std::vector<LabelledRecord> labels;
  std::map<std::string, std::pair<bool, bool>> truth;  // record -> champion, candidate right
};

// Traffic before and after the onset with randomly selected labels and users' corrections.
World traffic(Random& random, int records, const Models& old, const Models& fresh,
              double random_labels) {
  World world;
  for (int i = 0; i < records; ++i) {
    LabelledRecord record;
    record.id = "r" + std::to_string(i);
    record.unit = "u" + std::to_string(random.below(1'000'000));
    record.ts_ms = kOnset + (i < records / 2 ? -1 - i : i);
    record.source = "people";
    record.known_good = "the right answer";
    const auto outcome = (record.ts_ms < kOnset ? old : fresh).draw(random);
    world.truth[record.id] = outcome;
    if (random.chance(random_labels)) {
      record.selection = Selection::kRandom;
      world.labels.push_back(record);
    } else if (!outcome.first && random.chance(0.5)) {
      record.selection = Selection::kUser;  // a correction: only where the champion failed
      world.labels.push_back(record);
    }
  }
  return world;
}

struct ShadowRun {
  bool ship = false, superior_new = false, non_inferior_old = false, harm = false;
  std::uint64_t pairs = 0, labels_that_count = 0;
};

ShadowRun run_shadow(const Plan& plan, const World& world, std::uint64_t seed) {
  FrozenPool pool =
      FrozenPool::freeze(world.labels, {.onset_ms = kOnset, .eval_share = 0.5, .seed = seed});
  ShadowGate gate(plan, false, false);
  for (const Stratum stratum : {Stratum::kNew, Stratum::kOld}) {
    for (auto batch = pool.draw(stratum, 1); !batch.empty(); batch = pool.draw(stratum, 1)) {
      const auto& [champion, candidate] = world.truth.at(batch[0].id);
      gate.add(stratum, scored(champion, candidate));
    }
    gate.set_exhausted(stratum);
  }
  const ShadowVerdict verdict = gate.verdict();
  return {verdict.ship,
          verdict.strata[0].superior,
          verdict.strata[1].non_inferior,
          verdict.harm,
          verdict.pairs,
          pool.size(Stratum::kNew) + pool.size(Stratum::kOld)};
}

TEST(ShadowSim, BoundariesOfTheTrafficAreKeptWithPoolsDrawnAnew) {
  constexpr int kRuns = 1'000;
  Plan plan;
  plan.margin = 0.05;
  // new: D = 0 (never superior); old: D = -margin (never non-inferior).
  const Models equal{0.15, 0.15}, at_margin{0.20, 0.15};
  int superior = 0, non_inferior = 0, ship = 0, harm = 0;
  std::uint64_t pairs = 0;
  for (int run = 0; run < kRuns; ++run) {
    Random random(9'000 + static_cast<std::uint64_t>(run));
    const World world = traffic(random, 2'400, at_margin, equal, 0.6);
    const ShadowRun result = run_shadow(plan, world, static_cast<std::uint64_t>(run));
    superior += result.superior_new;
    non_inferior += result.non_inferior_old;
    ship += result.ship;
    harm += result.harm;
    pairs += result.pairs;
  }
  std::printf(
      "seeds 9000.. runs %d, %llu pairs a run: superior on new at D = 0 %.4f, non-inferior "
      "on old at D = -margin %.4f, shipped %.4f, harm %.4f\n",
      kRuns, static_cast<unsigned long long>(pairs / kRuns), superior / double{kRuns},
      non_inferior / double{kRuns}, ship / double{kRuns}, harm / double{kRuns});
  EXPECT_LE(superior / double{kRuns}, allowed(plan.alpha, kRuns));
  EXPECT_LE(non_inferior / double{kRuns}, allowed(plan.alpha, kRuns));
  EXPECT_LE(harm / double{kRuns}, allowed(plan.alpha_harm, kRuns));
}

TEST(ShadowSim, CorrectionsWhereTheChampionFailedNeverShipAnEqualModel) {
  constexpr int kRuns = 300;
  Plan plan;
  plan.margin = 0.05;
  const Models equal{0.15, 0.15};  // equally good, independent errors
  int shipped = 0, fooled = 0;
  for (int run = 0; run < kRuns; ++run) {
    Random random(70'000 + static_cast<std::uint64_t>(run));
    World world = traffic(random, 3'000, equal, equal, 0.0);  // corrections only
    const ShadowRun result = run_shadow(plan, world, 1);
    EXPECT_EQ(0u, result.labels_that_count);
    shipped += result.ship;
    // The same labels, if they counted: this is what the selection rule protects from.
    for (auto& record : world.labels) record.selection = Selection::kRandom;
    fooled += run_shadow(plan, world, 1).superior_new;
  }
  std::printf("seeds 70000.. runs %d: shipped %d; had corrections counted, superior in %d\n", kRuns,
              shipped, fooled);
  EXPECT_EQ(0, shipped);
  EXPECT_GE(fooled, kRuns * 9 / 10) << "the bias is real, or this test shows nothing";
}

Routing document() {
  Routing routing;
  routing.target = "bot";
  routing.generation = 1;
  routing.experiment = "trial-1";
  routing.arms = ramp_arms({}, {"new", "sha", "/a/new", "", ""}, 0.5, 0);
  return routing;
}

struct LiveRun {
  bool ship = false, harm = false, srm = false;
  int ship_units = 1'000'000'000, harm_units = 1'000'000'000;  // units of both arms until then
};

int median_of(std::vector<int> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// One live trial of `units` units; rates of complaints and lost records an arm.
LiveRun run_live(const Plan& plan, std::uint64_t seed, int units, double candidate, double control,
                 double lost_candidate = 0.0) {
  Random random(seed);
  RoutingHistory history;
  Routing routing = document();
  routing.seed = "trial-" + std::to_string(seed);
  EXPECT_TRUE(history.add(routing));
  LiveAb::Params params;
  params.plan = plan;
  params.experiment = "trial-1";
  params.label_wait_ms = 50;
  params.p95 = {1.0, 20.0, 100.0};
  LiveAb ab(params);
  LiveRun result;
  for (int i = 0; i < units; ++i) {
    const std::string unit = "u" + std::to_string(i), id = "r" + std::to_string(i);
    const Arm& arm = routing.assign(unit);
    const bool is_candidate = arm.role == kArmCandidate;
    if (is_candidate && random.chance(lost_candidate)) continue;
    LiveRecord record;
    record.id = id;
    record.unit = unit;
    record.ts_ms = i * 10;
    record.attested = true;
    record.adapter = arm.adapter.name;
    record.arm = arm.role;
    record.experiment = "trial-1";
    record.generation = 1;
    record.error = random.chance(0.01);
    record.refusal = random.chance(0.02);
    record.latency_s = random.uniform() * 2.3;
    record.tokens_out = random.uniform() * 42;
    record.tokens_all = random.uniform() * 210;
    ab.on_record(record, history);
    if (random.chance(is_candidate ? candidate : control)) {
      ab.on_feedback({id, i * 10 + 5, true, {}});
    }
    ab.on_time(i * 10 - 1);
    (void)ab.take_closed();
    if (i % 20 != 0) continue;  // crossings are kept; SRM is looked at every 20 units
    const LiveVerdict verdict = ab.verdict();
    result.srm = result.srm || verdict.exposed.mismatch;
    if (verdict.ship && !result.ship) result.ship_units = i;
    if (verdict.harm && !result.harm) result.harm_units = i;
    result.ship = result.ship || verdict.ship;
    result.harm = result.harm || verdict.harm;
  }
  return result;
}

TEST(LiveSim, AaShipsAndHarmsAndMismatchesWithinTheirAlphas) {
  constexpr int kRuns = 400;
  Plan plan;
  plan.margin_live = 0.1;
  int ship = 0, harm = 0, srm = 0;
  for (int run = 0; run < kRuns; ++run) {
    const LiveRun result =
        run_live(plan, 300'000 + static_cast<std::uint64_t>(run), 2'000, 0.2, 0.2);
    ship += result.ship;
    harm += result.harm;
    srm += result.srm;
  }
  std::printf("A/A live, seeds 300000.. runs %d of 2000 units: shipped %d, harm %d, srm %d\n",
              kRuns, ship, harm, srm);
  EXPECT_LE(ship / double{kRuns}, allowed(plan.alpha, kRuns));
  EXPECT_LE(harm / double{kRuns}, allowed(plan.alpha_harm, kRuns));
  EXPECT_LE(srm, 2);  // .4 expected at most
}

TEST(LiveSim, FindsGainsHarmAndLostRecords) {
  constexpr int kRuns = 100;
  Plan plan;
  plan.margin_live = 0.1;
  int ship = 0, harm = 0, srm = 0;
  std::vector<int> ship_units, harm_units;
  for (int run = 0; run < kRuns; ++run) {
    const auto seed = 400'000 + static_cast<std::uint64_t>(run);
    const LiveRun gain = run_live(plan, seed, 2'000, 0.05, 0.3);
    const LiveRun loss = run_live(plan, seed, 2'000, 0.5, 0.2);
    ship += gain.ship;
    harm += loss.harm;
    ship_units.push_back(gain.ship_units);
    harm_units.push_back(loss.harm_units);
    srm += run_live(plan, seed, 2'000, 0.2, 0.2, 0.3).srm;
  }
  std::printf(
      "live power, seeds 400000.. runs %d of 2000 units: gain .30 -> .05 shipped %d (median "
      "%d units of both arms), harm .20 -> .50 found %d (median %d), 30 %% of an arm lost "
      "found %d\n",
      kRuns, ship, median_of(ship_units), harm, median_of(harm_units), srm);
  EXPECT_GE(ship, 98);
  EXPECT_GE(harm, 98);
  EXPECT_GE(srm, 98);
}

}  // namespace
}  // namespace trimtab::shadow
