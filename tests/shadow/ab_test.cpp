// The live A/B: who counts, when units close, what holds, and that it survives a restart.
#include "shadow/ab.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "shadow/replay.h"

namespace trimtab::shadow {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;
constexpr std::int64_t kWait = 3'000;

Routing document(double share, std::uint64_t generation) {
  Routing routing;
  routing.target = "bot";
  routing.generation = generation;
  routing.expected_previous = generation - 1;
  routing.experiment = "trial-1";
  routing.seed = "trial-1";
  routing.arms = ramp_arms({}, {"new", "sha", "/a/new", "", ""}, share, 0);
  return routing;
}

Plan demo_plan() {
  Plan plan;
  plan.margin_live = 0.1;
  return plan;
}

LiveAb::Params params_of(const Plan& plan = demo_plan()) {
  LiveAb::Params params;
  params.plan = plan;
  params.experiment = "trial-1";
  params.label_wait_ms = kWait;
  params.p95 = {1.0, 20.0, 100.0};
  return params;
}

// A request as the gateway would log it under `routing`.
struct Request {
  std::string id, unit;
  std::int64_t ts_ms = kStart;
  std::string arm, adapter;
  LiveRecord record(std::uint64_t generation) const {
    LiveRecord made;
    made.id = id;
    made.unit = unit;
    made.ts_ms = ts_ms;
    made.attested = true;
    made.adapter = adapter;
    made.arm = arm;
    made.experiment = "trial-1";
    made.generation = generation;
    made.error = made.refusal = false;
    made.latency_s = 0.2;
    made.tokens_out = 5;
    made.tokens_all = 30;
    return made;
  }
};

class World : public ::testing::Test {
 protected:
  World() { EXPECT_TRUE(history.add(document(0.5, 1))); }
  Request request(const std::string& unit, std::uint64_t generation = 1) {
    const Arm& arm = history.find(generation)->assign(unit);
    return {"r" + std::to_string(++requests), unit, now, arm.role, arm.adapter.name};
  }
  // A unit of the wanted arm.
  std::string unit_in(std::string_view role, std::uint64_t generation = 1) {
    for (;;) {
      const std::string unit = "u" + std::to_string(++units);
      if (history.find(generation)->assign(unit).role == role) return unit;
    }
  }
  RoutingHistory history;
  std::int64_t now = kStart;
  int requests = 0, units = 0;
};

TEST_F(World, OnlyAttestedUnitsOfTheRightArmUnderTheirOwnGenerationCount) {
  ASSERT_TRUE(history.add(document(0.5, 2)));
  LiveAb ab(params_of());
  const auto count = [&] { return ab.verdict().exposed.candidate + ab.verdict().exposed.control; };
  Request good = request(unit_in(kArmCandidate));
  LiveRecord record = good.record(1);
  const auto rejected = [&](auto change) {
    LiveRecord bad = record;
    change(bad);
    const auto before = count();
    ab.on_record(bad, history);
    return count() == before;
  };
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.probe = true; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.unit = ""; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.attested = false; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.experiment = "trial-2"; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.generation = 99; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.adapter = "old-one"; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.arm = "control"; }));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.arm = "nonsense"; }));
  EXPECT_EQ(1u, ab.verdict().unattested);
  EXPECT_EQ(3u, ab.verdict().mismatched);
  EXPECT_FALSE(rejected([](LiveRecord&) {}));
  EXPECT_TRUE(rejected([](LiveRecord& r) { r.id = "second"; })) << "a unit counts once";
  EXPECT_EQ(1u, ab.verdict().exposed.candidate);
}

TEST_F(World, EvidenceRunsOnThroughTheRamp) {
  RoutingHistory ramp;
  ASSERT_TRUE(ramp.add(document(0.1, 1)));
  ASSERT_TRUE(ramp.add(document(0.5, 2)));
  LiveAb ab(params_of());
  std::string late;  // a unit that is in no arm yet at 10 %, and a candidate at 50 %
  for (int i = 0; late.empty(); ++i) {
    const std::string unit = "x" + std::to_string(i);
    if (ramp.find(1)->assign(unit).role == kArmChampion &&
        ramp.find(2)->assign(unit).role == kArmCandidate) {
      late = unit;
    }
  }
  Request early{"a", late, kStart, "champion", ""};
  ab.on_record(early.record(1), ramp);
  EXPECT_EQ(0u, ab.verdict().open_units);
  Request then{"b", late, kStart + 10, "candidate", "new"};
  ab.on_record(then.record(2), ramp);
  EXPECT_EQ(1u, ab.verdict().open_units);
  // A delayed record of the old generation is judged by the old document: not a mismatch.
  Request delayed{"c", late, kStart + 20, "champion", ""};
  ab.on_record(delayed.record(1), ramp);
  EXPECT_EQ(0u, ab.verdict().mismatched);
}

TEST_F(World, UnitsCloseAtTheirWaitWithWhatArrivedByThen) {
  LiveAb ab(params_of());
  const Request candidate = request(unit_in(kArmCandidate));
  const Request control = request(unit_in(kArmControl));
  ab.on_record(candidate.record(1), history);
  ab.on_record(control.record(1), history);
  ab.on_feedback({control.id, kStart + 100, true, {}});
  ab.on_feedback({candidate.id, kStart + kWait + 1, true, {}});  // after the close: trains only
  ab.on_feedback({"unknown", kStart, true, {}});
  ab.on_time(kStart + kWait - 1);
  EXPECT_EQ(0u, ab.verdict().metrics[0].pairs);
  ab.on_time(kStart + kWait);
  const LiveVerdict verdict = ab.verdict();
  EXPECT_EQ(1u, verdict.late_feedback);
  EXPECT_EQ(1u, verdict.metrics[0].pairs);
  EXPECT_EQ(1.0, verdict.metrics[0].mean_d) << "the control complained, the candidate did not";
  EXPECT_EQ("accuracy", verdict.metrics[1].metric);
  EXPECT_EQ(0u, verdict.metrics[1].pairs) << "no label is missing, not good";
  const auto closed = ab.take_closed();
  ASSERT_EQ(2u, closed.size());
  EXPECT_TRUE(ab.take_closed().empty());
}

TEST_F(World, LabelsMakeAccuracyAndMissingNumbersMakeNoGuardrail) {
  Plan plan = demo_plan();
  plan.live_metric = config::LiveMetric::kAccuracy;
  LiveAb::Params params = params_of(plan);
  params.primary = "accuracy";
  params.p95.tokens_all.reset();
  LiveAb ab(params);
  for (int i = 0; i < 10; ++i) {
    for (const auto role : {kArmCandidate, kArmControl}) {
      const Request one = request(unit_in(role));
      ab.on_record(one.record(1), history);
      if (i < 4) ab.on_feedback({one.id, now, false, role == kArmCandidate ? 1.0 : 0.0});
    }
  }
  ab.on_time(now + kWait);
  const LiveVerdict verdict = ab.verdict();
  EXPECT_EQ("accuracy", verdict.metrics[0].metric);
  EXPECT_EQ(4u, verdict.metrics[0].pairs);
  EXPECT_EQ(1.0, verdict.metrics[0].mean_d);
  EXPECT_EQ(4u, verdict.labelled.candidate);
  EXPECT_EQ("costly", verdict.metrics.back().metric);
  EXPECT_EQ(0u, verdict.metrics.back().pairs);
  EXPECT_NE(std::string::npos, verdict.message.find("guardrail costly: no data"));
  EXPECT_FALSE(verdict.ship);
}

// Runs `count` units through; bad outcomes by arm.
void run_units(World&, LiveAb& ab, RoutingHistory& history, Random& random, int count,
               double complaint_candidate, double complaint_control, double error_candidate = 0) {
  static int serial = 0;
  for (int i = 0; i < count; ++i) {
    const std::string unit = "v" + std::to_string(++serial);
    const Arm& arm = history.find(1)->assign(unit);
    const std::int64_t ts = kStart + serial * 10;
    Request one{"q" + std::to_string(serial), unit, ts, arm.role, arm.adapter.name};
    LiveRecord record = one.record(1);
    const bool candidate = arm.role == kArmCandidate;
    if (candidate) record.error = random.chance(error_candidate);
    ab.on_record(record, history);
    if (random.chance(candidate ? complaint_candidate : complaint_control)) {
      ab.on_feedback({one.id, ts + 5, true, {}});
    }
    ab.on_time(ts - 1);
  }
  ab.on_time(kStart + (serial + 1) * 10 + kWait);
}

TEST_F(World, ShipsABetterCandidateAndCatchesAWorseOne) {
  Random random(17);
  LiveAb better(params_of());
  run_units(*this, better, history, random, 1'200, 0.05, 0.35);
  EXPECT_TRUE(better.verdict().ship) << better.verdict().message;
  EXPECT_FALSE(better.verdict().harm);
  LiveAb worse(params_of());
  run_units(*this, worse, history, random, 1'200, 0.45, 0.05);
  EXPECT_TRUE(worse.verdict().harm);
  EXPECT_EQ("complaint", worse.verdict().harm_on);
  LiveAb errors(params_of());
  run_units(*this, errors, history, random, 1'200, 0.05, 0.35, 0.4);
  EXPECT_TRUE(errors.verdict().harm) << "a guardrail outranks the gain";
  EXPECT_FALSE(errors.verdict().ship);
}

TEST_F(World, AMissingArmIsASampleRatioMismatch) {
  LiveAb ab(params_of());
  for (int i = 0; i < 600; ++i) {
    const Request one = request("w" + std::to_string(i));
    // The candidate's server drops half of its records.
    if (one.arm == kArmCandidate && i % 2 == 0) continue;
    ab.on_record(one.record(1), history);
  }
  EXPECT_TRUE(ab.verdict().exposed.mismatch);
  EXPECT_FALSE(ab.verdict().ship);
}

TEST_F(World, AWrongFleetHoldsAndAStrayRecordDoesNot) {
  LiveAb ab(params_of());
  for (int i = 0; i < 300; ++i) ab.on_record(request("w" + std::to_string(i)).record(1), history);
  Request stray = request(unit_in(kArmCandidate));
  stray.adapter = "";
  ab.on_record(stray.record(1), history);
  EXPECT_FALSE(ab.verdict().mismatch_hold);
  for (int i = 0; i < 20; ++i) ab.on_record(stray.record(1), history);
  EXPECT_TRUE(ab.verdict().mismatch_hold);
  for (int i = 300; i < 6'000; ++i) {
    ab.on_record(request("w" + std::to_string(i)).record(1), history);
  }
  EXPECT_FALSE(ab.verdict().mismatch_hold) << "healed";
  EXPECT_EQ(21u, ab.verdict().mismatched);
}

TEST_F(World, ABrokenServerIsAHardBreachAndASharedOutageIsNot) {
  LiveAb broken(params_of()), outage(params_of());
  for (int i = 0; i < 80; ++i) {
    const Request one = request("w" + std::to_string(i));
    LiveRecord record = one.record(1);
    record.error = one.arm == kArmCandidate && i % 4 != 0;
    broken.on_record(record, history);
    record.error = i % 4 != 0;
    outage.on_record(record, history);
  }
  EXPECT_NE("", broken.verdict().slo_breach);
  EXPECT_FALSE(broken.verdict().ship);
  EXPECT_EQ("", outage.verdict().slo_breach);
}

TEST_F(World, OpenUnitsAreBounded) {
  Plan plan = demo_plan();
  plan.max_open_units = 50;
  LiveAb ab(params_of(plan));
  for (int i = 0; i < 200; ++i) ab.on_record(request("w" + std::to_string(i)).record(1), history);
  EXPECT_EQ(50u, ab.verdict().open_units);
  EXPECT_EQ(150u, ab.verdict().overflowed);
}

// What a store holds after each save.
void keep(LiveAb& ab, std::map<std::string, std::string>& store) {
  for (const auto& piece : ab.save_changed()) {
    if (piece.bytes.empty()) {
      store.erase(piece.name);
    } else {
      store[piece.name] = piece.bytes;
    }
  }
}

std::vector<LiveAb::Piece> pieces_of(const std::map<std::string, std::string>& store) {
  std::vector<LiveAb::Piece> pieces;
  for (const auto& [name, bytes] : store) pieces.push_back({name, bytes});
  return pieces;
}

TEST_F(World, SavedAndRestoredAnywhereEndsTheSame) {
  Random random(23);
  LiveAb whole(params_of()), part(params_of());
  std::map<std::string, std::string> whole_store, part_store;
  for (int i = 0; i < 400; ++i) {
    now += 100;
    const Request one = request("w" + std::to_string(i % 250));
    const bool complains = random.chance(0.3);
    const std::optional<double> label =
        random.chance(0.3) ? std::optional(random.chance(0.5) ? 1.0 : 0.0) : std::nullopt;
    for (LiveAb* ab : {&whole, &part}) {
      ab->on_record(one.record(1), history);
      ab->on_feedback({one.id, now + 50, complains, label});
      ab->on_time(now - 500);
      (void)ab->take_closed();
    }
    keep(whole, whole_store);
    keep(part, part_store);
    if (i % 61 == 0) {
      auto restored = LiveAb::restore(params_of(), pieces_of(part_store));
      ASSERT_TRUE(restored) << restored.error().message;
      part = *std::move(restored);
    }
  }
  EXPECT_EQ(whole_store, part_store);
  EXPECT_EQ(whole.verdict(), *parse_live_verdict(to_json(part.verdict())));
  Plan other = demo_plan();
  other.margin_live = 0.2;
  EXPECT_FALSE(LiveAb::restore(params_of(other), pieces_of(whole_store)));
  EXPECT_FALSE(LiveAb::restore(params_of(), {}));
  for (const auto& [name, bytes] : whole_store) {
    auto damaged = whole_store;
    damaged.erase(name);
    EXPECT_FALSE(LiveAb::restore(params_of(), pieces_of(damaged))) << "without " << name;
  }
}

// A step's cost must not grow with what is open: at 250 ms a step, 20,000 open units were 6 MB
// written four times a second.
TEST_F(World, WhatIsSavedIsWhatChanged) {
  LiveAb ab(params_of());
  std::map<std::string, std::string> store;
  for (int i = 0; i < 20'000; ++i)
    ab.on_record(request("w" + std::to_string(i)).record(1), history);
  keep(ab, store);
  ASSERT_GT(ab.verdict().open_units, 5'000U);
  const Request one = request("one-more");
  ab.on_record(one.record(1), history);
  ab.on_feedback({one.id, now + 1, true, std::nullopt});
  std::size_t bytes = 0, pieces = 0;
  for (const auto& piece : ab.save_changed()) {
    bytes += piece.bytes.size();
    ++pieces;
  }
  EXPECT_LE(pieces, 3U) << "the unit, the end of `seen`, the core";
  EXPECT_LE(bytes, 20'000U);
}

TEST_F(World, JournaledUnitsReplayToTheSameEvidenceAndToAnotherPlans) {
  Random random(31);
  LiveAb ab(params_of());
  run_units(*this, ab, history, random, 600, 0.1, 0.3);
  const auto rows = ab.take_closed();
  const auto replay = replay_live(demo_plan(), "complaint", rows);
  ASSERT_TRUE(replay) << replay.error().message;
  EXPECT_EQ(ab.verdict().metrics, replay->verdict.metrics);
  EXPECT_EQ(ab.verdict().exposed, replay->verdict.exposed);
  ASSERT_TRUE(replay->ship_at);
  Plan strict = demo_plan();
  strict.alpha = 0.001;
  const auto later = replay_live(strict, "complaint", rows);
  ASSERT_TRUE(later);
  EXPECT_TRUE(!later->ship_at || *later->ship_at > *replay->ship_at);
  strict.alpha = 2.0;
  EXPECT_FALSE(replay_live(strict, "complaint", rows));
}

TEST(ShadowReplay, TellsWhenAnotherPlanWouldHaveDecided) {
  Random random(37);
  std::vector<ReplayPair> rows;
  for (int i = 0; i < 600; ++i) {
    const bool fresh = i % 2 == 0;
    rows.push_back({fresh ? Stratum::kNew : Stratum::kOld,
                    fresh ? (random.chance(0.4) ? 1.0 : 0.0) : (random.chance(0.97) ? 0.0 : -1.0)});
  }
  rows[5].d.reset();
  Plan plan = demo_plan();
  plan.margin = 0.1;
  const ShadowReplay loose = replay_shadow(plan, false, rows);
  ASSERT_TRUE(loose.ship_at);
  plan.margin = 0.01;
  const ShadowReplay tight = replay_shadow(plan, false, rows);
  EXPECT_FALSE(tight.ship_at) << "old lost three points";
  EXPECT_EQ(1u, tight.verdict.missing);
}

}  // namespace
}  // namespace trimtab::shadow
