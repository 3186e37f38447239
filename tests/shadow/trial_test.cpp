// The trial's table (PROMOTION.md section 1): every row, every command, and the exhaustive walk
// that shows that nothing outside the table ever happens and everything inside it can.
// Over 400 lines because it is the table, a row a test, over one set of builders.
#include "shadow/trial.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/json.h"
#include "base/random.h"

namespace trimtab::shadow {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;

Plan demo_plan() {
  Plan plan;
  plan.margin = 0.05;
  plan.margin_live = 0.1;
  plan.ladder = {0.1, 0.5};
  plan.canary_min_dwell_ms = 5'000;
  plan.canary_min_units = 20;
  plan.ab_min_dwell_ms = 10'000;
  plan.bake_ms = 5'000;
  plan.bake_min_units = 10;
  plan.label_wait_ms = 3'000;
  return plan;
}

NewTrial wanted() {
  NewTrial trial;
  trial.id = "trial-7";
  trial.target = "support-bot";
  trial.candidate = {"support-bot-20261123T010203Z-0badcafe", "aa", "/a/new", "base", "tok"};
  trial.champion = {};
  trial.origin = Origin::kDrift;
  trial.alarm_id = "al-1";
  trial.job_id = "job-1";
  trial.data_size = 450;
  trial.plan = demo_plan();
  return trial;
}

LiveVerdict healthy(std::uint64_t units, std::int64_t last_ms) {
  LiveVerdict live;
  live.closed_candidate = live.closed_control = units;
  live.last_unit_ms = last_ms;
  live.metrics = {{.metric = "complaint"}};
  live.primary = "complaint";
  return live;
}

// Drives a trial by hand: applies effects as they are wanted, as the daemon would.
class Drive {
 public:
  explicit Drive(const NewTrial& wish = wanted()) : trial(make_trial(wish, kStart).value()) {}

  // One advance(); the journal keeps what changed, the effects of the new state get applied.
  bool step() {
    const Transition next = advance(trial, evidence, now);
    EXPECT_TRUE(explain_difference(trial, evidence, now, next).empty());
    if (next.changed) {
      journal.push_back(next);
      trial = next.next;
    }
    if (answer_effects) apply_effects(next.effects);
    return next.changed;
  }
  void settle() {
    for (int i = 0; i < 50 && step(); ++i) {
    }
  }
  void apply_effects(const std::vector<EffectRequest>& effects) {
    for (const EffectRequest& effect : effects) {
      EffectResult& result = evidence.effects[effect.key];
      if (result.status == EffectStatus::kApplied) continue;
      result.status = EffectStatus::kApplied;
      result.attempts += 1;
      if (effect.kind == EffectKind::kWriteRouting) {
        result.generation = ++generation;
        evidence.acked_generation = generation;
        last_arms = effect.arms;
      }
    }
  }
  Result<Transition> command(Verb verb, bool force = false) {
    auto done = apply(trial, {verb, "alice", "because", force}, evidence, now);
    if (done) {
      journal.push_back(*done);
      trial = done->next;
      if (answer_effects) apply_effects(done->effects);
    }
    return done;
  }
  void to_shadow() {
    evidence.preflight = PreflightVerdict{true, "", "fine"};
    evidence.offline = OfflineVerdict{};
    evidence.offline->passed = true;
    settle();
    settle();
    ASSERT_EQ(State::kShadow, trial.state);
  }
  void to_canary() {
    to_shadow();
    evidence.shadow = ShadowVerdict{};
    evidence.shadow->ship = true;
    settle();
    ASSERT_EQ(State::kCanary, trial.state);
    step();
  }
  void to_ab() {
    to_canary();
    now += 6'000;
    evidence.live = healthy(25, now);
    settle();
    ASSERT_EQ(State::kAb, trial.state);
    step();
  }
  void to_baking() {
    to_ab();
    now += 11'000;
    evidence.live = healthy(200, now);
    evidence.live->ship = true;
    settle();
    settle();
    ASSERT_EQ(State::kBaking, trial.state);
  }

  Trial trial;
  Evidence evidence;
  std::int64_t now = kStart;
  std::uint64_t generation = 0;
  std::vector<Transition> journal;
  std::vector<Arm> last_arms;
  bool answer_effects = true;
};

TEST(Trial, TheHappyPathOneStateAfterAnother) {
  Drive drive;
  EXPECT_EQ(EffectKind::kVerifyFiles, wanted_effects(drive.trial, {})[0].kind);
  EXPECT_FALSE(drive.step());  // nothing observed: nothing happens
  drive.to_baking();
  drive.now += 6'000;
  drive.evidence.bake = healthy(12, drive.now);
  drive.settle();
  EXPECT_EQ(State::kPromoted, drive.trial.state);
  EXPECT_EQ(Reason::kBakeClean, drive.trial.end_reason);
  drive.step();
  ASSERT_EQ(1u, drive.last_arms.size());
  EXPECT_EQ(drive.trial.candidate, drive.last_arms[0].adapter);
  std::string path;
  for (const auto& row : drive.journal) path += std::string(state_name(row.to)) + " ";
  EXPECT_EQ("OFFLINE_EVAL LOADING SHADOW CANARY AB PROMOTING BAKING PROMOTED ", path);
}

TEST(Trial, PreflightAndScreenRejectByName) {
  Drive drive;
  drive.evidence.preflight = PreflightVerdict{false, "nan_weights", "q_proj holds a NaN"};
  drive.settle();
  EXPECT_EQ(State::kRejected, drive.trial.state);
  EXPECT_EQ("nan_weights", drive.trial.end_detail);
  EXPECT_FALSE(drive.trial.harm);  // no tombstone: nothing was harmed

  Drive screen;
  screen.evidence.preflight = PreflightVerdict{true, "", ""};
  screen.evidence.offline = OfflineVerdict{};
  screen.evidence.offline->failure = "worse_on_holdout";
  screen.settle();
  EXPECT_EQ(State::kRejected, screen.trial.state);
  EXPECT_EQ(Reason::kScreenFailed, screen.trial.end_reason);
}

TEST(Trial, LoadingWaitsForEveryEffectAndFailsByItsDwell) {
  Drive drive;
  drive.answer_effects = false;
  drive.evidence.preflight = PreflightVerdict{true, "", ""};
  drive.evidence.offline = OfflineVerdict{};
  drive.evidence.offline->passed = true;
  drive.settle();
  EXPECT_EQ(State::kLoading, drive.trial.state);
  drive.evidence.effects["trial-7/load_adapter"] = {EffectStatus::kApplied, 1, 0, ""};
  EXPECT_FALSE(drive.step());
  drive.evidence.effects["trial-7/warm_up"] = {EffectStatus::kPending, 9, 0, "connection refused"};
  EXPECT_FALSE(drive.step());
  drive.now += drive.trial.plan.max_dwell.loading_ms;
  EXPECT_TRUE(drive.step());
  EXPECT_EQ(State::kRejected, drive.trial.state);
  EXPECT_EQ(Reason::kLoadFailed, drive.trial.end_reason);
  EXPECT_NE(std::string::npos, drive.trial.message.find("connection refused"));
}

TEST(Trial, ApprovalAndBudgetHoldTheDoor) {
  for (const bool by_budget : {false, true}) {
    NewTrial wish = wanted();
    wish.plan.approval = !by_budget;
    Drive drive(wish);
    drive.to_shadow();
    if (by_budget) drive.evidence.alpha_spent = 0.96;
    drive.evidence.shadow = ShadowVerdict{};
    drive.evidence.shadow->ship = true;
    drive.settle();
    ASSERT_EQ(State::kAwaitApproval, drive.trial.state);
    EXPECT_EQ(by_budget ? Reason::kBudgetSpent : Reason::kApprovalNeeded, drive.trial.reason);
    EXPECT_FALSE(drive.command(Verb::kAdvance));
    ASSERT_TRUE(drive.command(Verb::kApprove));
    drive.settle();
    EXPECT_EQ(State::kCanary, drive.trial.state);
    EXPECT_EQ("alice", drive.trial.approved_by);
  }
  NewTrial wish = wanted();
  wish.plan.approval = true;
  Drive late(wish);
  late.to_shadow();
  late.evidence.shadow = ShadowVerdict{};
  late.evidence.shadow->ship = true;
  late.settle();
  late.now += late.trial.plan.max_dwell.await_approval_ms;
  late.settle();
  EXPECT_EQ(State::kAborted, late.trial.state);
}

TEST(Trial, ShadowEnds) {
  Drive harm;
  harm.to_shadow();
  harm.evidence.shadow = ShadowVerdict{};
  harm.evidence.shadow->harm = true;
  harm.evidence.shadow->harm_on = "old";
  harm.evidence.shadow->ship = true;  // harm outranks
  harm.settle();
  EXPECT_EQ(State::kRejected, harm.trial.state);
  EXPECT_TRUE(harm.trial.harm);

  Drive exhausted;
  exhausted.to_shadow();
  exhausted.evidence.shadow = ShadowVerdict{};
  exhausted.evidence.shadow->exhausted = true;
  exhausted.settle();
  EXPECT_EQ(State::kInconclusive, exhausted.trial.state);

  Drive newer;
  newer.to_shadow();
  newer.evidence.newer_candidate = "support-bot-20261123T020203Z-11111111";
  newer.settle();
  EXPECT_EQ(State::kSuperseded, newer.trial.state);
  NewTrial wish = wanted();
  wish.plan.supersede = false;
  Drive kept(wish);
  kept.to_shadow();
  kept.evidence.newer_candidate = "other";
  kept.settle();
  EXPECT_EQ(State::kShadow, kept.trial.state);
}

TEST(Trial, CanaryNeedsDwellAndUnitsAndAcknowledgement) {
  Drive drive;
  drive.to_canary();
  drive.evidence.live = healthy(100, drive.now);
  EXPECT_FALSE(drive.step()) << "dwell";
  drive.now += 6'000;
  drive.evidence.live = healthy(19, drive.now);
  EXPECT_FALSE(drive.step()) << "units";
  drive.evidence.live = healthy(20, drive.now);
  drive.evidence.acked_generation = 0;
  EXPECT_FALSE(drive.step()) << "acknowledgement";
  drive.evidence.acked_generation = drive.generation;
  EXPECT_TRUE(drive.step());
  EXPECT_EQ(State::kAb, drive.trial.state);
}

TEST(Trial, LadderStepsWidenOneAfterAnother) {
  NewTrial wish = wanted();
  wish.plan.ladder = {0.01, 0.05, 0.25, 0.5};
  Drive drive(wish);
  drive.to_canary();
  std::vector<double> shares = {drive.last_arms[0].share()};
  std::uint64_t units = 0;
  while (drive.trial.state == State::kCanary) {
    drive.now += 6'000;
    units += 20;
    drive.evidence.live = healthy(units, drive.now);
    ASSERT_TRUE(drive.step());
    drive.step();
    shares.push_back(drive.last_arms[0].share());
  }
  EXPECT_EQ((std::vector<double>{0.01, 0.05, 0.25, 0.5}), shares);
  EXPECT_EQ(State::kAb, drive.trial.state);
}

TEST(Trial, HarmAndBreachesRollBackAtOnceEvenWhilePaused) {
  for (const bool paused : {false, true}) {
    for (const char* how : {"harm", "slo"}) {
      Drive drive;
      drive.to_ab();
      if (paused) {
        ASSERT_TRUE(drive.command(Verb::kPause));
      }
      drive.evidence.live = healthy(500, drive.now);
      drive.evidence.live->ship = true;
      if (std::string(how) == "harm") {
        drive.evidence.live->harm = true;
        drive.evidence.live->harm_on = "complaint";
      } else {
        drive.evidence.live->slo_breach = "70 % errors";
      }
      drive.step();
      EXPECT_EQ(State::kRollingBack, drive.trial.state);
      ASSERT_EQ(1u, drive.last_arms.size());
      EXPECT_TRUE(drive.last_arms[0].adapter.bare_base());
      drive.step();
      EXPECT_EQ(State::kRolledBack, drive.trial.state);
      EXPECT_EQ(std::string(how) == "harm", drive.trial.harm);
    }
  }
}

TEST(Trial, BakingRollsBackOnHarmAndNeverPassesOnThinData) {
  Drive drive;
  drive.to_baking();
  drive.now += drive.trial.plan.bake_ms * 10;
  drive.evidence.bake = healthy(9, drive.now);  // one unit short
  EXPECT_FALSE(drive.step());
  drive.evidence.bake->harm = true;
  drive.evidence.bake->harm_on = "complaint";
  drive.settle();
  EXPECT_EQ(State::kRolledBack, drive.trial.state);
  EXPECT_EQ(Reason::kBakeHarm, drive.trial.end_reason);

  Drive thin;
  thin.to_baking();
  thin.now += thin.trial.plan.max_dwell.baking_ms;
  thin.evidence.bake = healthy(9, thin.now);
  thin.settle();
  EXPECT_EQ(State::kInconclusive, thin.trial.state);
}

TEST(Trial, HorizonsAreInconclusive) {
  Drive units;
  units.to_ab();
  units.evidence.live =
      healthy(static_cast<std::uint64_t>(units.trial.plan.ab_max_units), units.now);
  units.settle();
  EXPECT_EQ(State::kInconclusive, units.trial.state);
  EXPECT_EQ(Reason::kHorizonReached, units.trial.end_reason);
  Drive time;
  time.to_ab();
  time.now += time.trial.plan.max_dwell.ab_ms;
  time.settle();
  EXPECT_EQ(State::kInconclusive, time.trial.state);
}

TEST(Trial, AutomaticPausesComeAndGoWithTheirCause) {
  Drive drive;
  drive.to_ab();
  drive.now += drive.trial.plan.no_data_pause_ms;
  drive.step();
  EXPECT_EQ(Pause::kNoData, drive.trial.pause);
  drive.evidence.live = healthy(30, drive.now);
  drive.evidence.live->ship = true;
  drive.step();
  EXPECT_EQ(Pause::kNone, drive.trial.pause);
  drive.evidence.live->mismatch_hold = true;
  drive.step();
  EXPECT_EQ(Pause::kServedMismatch, drive.trial.pause);
  EXPECT_FALSE(drive.step());  // holds, though ship is said
  drive.evidence.live->mismatch_hold = false;
  drive.evidence.live->exposed.mismatch = true;
  drive.step();
  EXPECT_EQ(Pause::kSrm, drive.trial.pause);
  drive.evidence.live->exposed.mismatch = false;
  EXPECT_FALSE(drive.step()) << "an operator looks at a mismatch first";
  drive.evidence.live->exposed.mismatch = true;
  ASSERT_TRUE(drive.command(Verb::kResume));
  drive.evidence.live->ship = true;
  EXPECT_FALSE(drive.step()) << "resumed, but a mismatch never ships";
  EXPECT_EQ(State::kAb, drive.trial.state);
  drive.evidence.acked_generation = 0;
  drive.now += drive.trial.plan.ack_timeout_ms;
  drive.step();
  EXPECT_EQ(Pause::kAckTimeout, drive.trial.pause);
}

TEST(Trial, AScorerThatIsDownPausesTheShadow) {
  Drive drive;
  drive.to_shadow();
  drive.evidence.shadow = ShadowVerdict{};
  drive.evidence.shadow->scorer_down = true;
  drive.step();
  EXPECT_EQ(Pause::kScorerDown, drive.trial.pause);
  drive.evidence.shadow->scorer_down = false;
  drive.step();
  EXPECT_EQ(Pause::kNone, drive.trial.pause);
}

TEST(Trial, OperatorsCommandsAndTheirRefusals) {
  Drive drive;
  EXPECT_FALSE(drive.command(Verb::kResume));
  EXPECT_FALSE(drive.command(Verb::kApprove));
  EXPECT_FALSE(drive.command(Verb::kAdvance));
  EXPECT_FALSE(drive.command(Verb::kAdvance, true)) << "files are never skipped";
  ASSERT_TRUE(drive.command(Verb::kPause));
  const auto again = drive.command(Verb::kPause);
  ASSERT_FALSE(again);
  EXPECT_EQ(Code::kConflict, again.error().code);
  drive.evidence.preflight = PreflightVerdict{true, "", ""};
  EXPECT_FALSE(drive.step()) << "paused";
  ASSERT_TRUE(drive.command(Verb::kResume));
  EXPECT_TRUE(drive.step());
  ASSERT_TRUE(drive.command(Verb::kAdvance, true)) << "the screen is statistics";
  EXPECT_TRUE(drive.step());
  EXPECT_EQ(State::kLoading, drive.trial.state);
  EXPECT_FALSE(drive.command(Verb::kAdvance, true)) << "the fleet is never skipped";
  ASSERT_TRUE(drive.command(Verb::kAbort));
  drive.settle();
  EXPECT_EQ(State::kAborted, drive.trial.state);
  EXPECT_TRUE(drive.last_arms.empty()) << "routing never named it: nothing to write";
  const auto late = drive.command(Verb::kRollback);
  ASSERT_FALSE(late);
  EXPECT_EQ(Code::kConflict, late.error().code);
}

TEST(Trial, AdvanceEndsADwellButKeepsTheGates) {
  Drive drive;
  drive.to_canary();
  ASSERT_TRUE(drive.command(Verb::kAdvance));
  drive.evidence.live = healthy(10, drive.now);
  EXPECT_FALSE(drive.step());
  drive.evidence.live = healthy(20, drive.now);
  EXPECT_TRUE(drive.step());
  EXPECT_EQ(State::kAb, drive.trial.state);
  drive.step();
  drive.evidence.live->ship = true;
  EXPECT_FALSE(drive.step()) << "the next dwell is the next one's";
}

TEST(Trial, PromoteWithForceSkipsStatisticsNotHealth) {
  Drive drive;
  ASSERT_TRUE(drive.command(Verb::kPromote, true));
  EXPECT_FALSE(drive.step()) << "files first";
  drive.evidence.preflight = PreflightVerdict{true, "", ""};
  for (int i = 0; i < 20; ++i) drive.step();
  EXPECT_EQ(State::kPromoted, drive.trial.state);

  Drive bad;
  ASSERT_TRUE(bad.command(Verb::kPromote, true));
  bad.evidence.preflight = PreflightVerdict{false, "wrong_base", ""};
  bad.settle();
  EXPECT_EQ(State::kRejected, bad.trial.state);

  Drive unheard;
  unheard.to_ab();
  ASSERT_TRUE(unheard.command(Verb::kPromote, true));
  unheard.answer_effects = false;
  unheard.settle();
  EXPECT_EQ(State::kPromoting, unheard.trial.state) << "routers are never skipped";
}

TEST(Trial, RollbackDoesNotWaitForADeafRouter) {
  Drive drive;
  drive.to_ab();
  ASSERT_TRUE(drive.command(Verb::kRollback));
  drive.evidence.acked_generation = 1;  // a router hangs at an old document
  EXPECT_FALSE(drive.step());
  drive.now += drive.trial.plan.max_dwell.rolling_back_ms;
  EXPECT_TRUE(drive.step());
  EXPECT_EQ(State::kAborted, drive.trial.state);
  EXPECT_EQ(EffectKind::kUnloadAdapter, wanted_effects(drive.trial, drive.evidence)[0].kind);
}

TEST(Trial, EffectsHaveStableKeysAndSurviveARestart) {
  Drive drive;
  drive.to_ab();
  const auto before = wanted_effects(drive.trial, drive.evidence);
  const auto restored = parse_trial(*parse_json(dump_json(to_json(drive.trial))));
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(before, wanted_effects(*restored, drive.evidence));
  EXPECT_EQ("trial-7/write_routing/AB", before.back().key);
  for (const auto& effect : before) {
    const auto again = parse_effect_request(*parse_json(dump_json(to_json(effect))));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(effect, *again);
  }
}

TEST(Trial, JsonIsStrictAndAChangedPlanIsRefused) {
  Drive drive;
  drive.to_ab();
  const Json good = to_json(drive.trial);
  EXPECT_EQ(dump_json(good), dump_json(to_json(*parse_trial(good))));
  Json bad = good;
  bad["plan"]["margin"] = 0.2;
  EXPECT_FALSE(parse_trial(bad));
  bad = good;
  bad["state"] = "DONE";
  EXPECT_FALSE(parse_trial(bad));
  bad = good;
  bad.erase("seq");
  EXPECT_FALSE(parse_trial(bad));
  bad = good;
  bad["colour"] = 1;
  EXPECT_FALSE(parse_trial(bad));
  const Json evidence = to_json(drive.evidence);
  const auto again = parse_evidence(*parse_json(dump_json(evidence)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(dump_json(evidence), dump_json(to_json(*again)));
}

TEST(Trial, NewTrialsAreChecked) {
  NewTrial wish = wanted();
  wish.plan.ship = config::Ship::kNonInferior;
  EXPECT_FALSE(make_trial(wish, kStart)) << "operators only";
  wish.origin = Origin::kManual;
  EXPECT_TRUE(make_trial(wish, kStart));
  wish = wanted();
  wish.candidate.name.clear();
  EXPECT_FALSE(make_trial(wish, kStart));
  wish = wanted();
  wish.champion = wish.candidate;
  EXPECT_FALSE(make_trial(wish, kStart));
  wish = wanted();
  wish.plan.alpha = 0.0;
  EXPECT_FALSE(make_trial(wish, kStart));
}

TEST(Trial, EveryReasonTellsTheNextStepAndHasAName) {
  std::set<std::string> names;
  for (int i = 0; i < kReasonCount; ++i) {
    const Reason reason = static_cast<Reason>(i);
    EXPECT_TRUE(names.insert(std::string(reason_name(reason))).second) << i;
    EXPECT_GT(next_step(reason).size(), 10u);
    EXPECT_EQ(reason, *parse_reason(reason_name(reason)));
  }
  for (int i = 0; i < kStateCount; ++i) {
    EXPECT_EQ(static_cast<State>(i), *parse_state(state_name(static_cast<State>(i))));
  }
}

// The table of PROMOTION.md section 1, and the additions that trial.h names.
const std::set<std::pair<State, State>>& table() {
  using S = State;
  static const std::set<std::pair<State, State>> rows = {{S::kRegistered, S::kOfflineEval},
                                                         {S::kRegistered, S::kRejected},
                                                         {S::kOfflineEval, S::kLoading},
                                                         {S::kOfflineEval, S::kRejected},
                                                         {S::kLoading, S::kShadow},
                                                         {S::kLoading, S::kRejected},
                                                         {S::kShadow, S::kCanary},
                                                         {S::kShadow, S::kAwaitApproval},
                                                         {S::kShadow, S::kRejected},
                                                         {S::kShadow, S::kInconclusive},
                                                         {S::kAwaitApproval, S::kCanary},
                                                         {S::kAwaitApproval, S::kAborted},
                                                         {S::kCanary, S::kAb},
                                                         {S::kAb, S::kPromoting},
                                                         {S::kPromoting, S::kBaking},
                                                         {S::kBaking, S::kPromoted},
                                                         {S::kRollingBack, S::kRolledBack},
                                                         {S::kRollingBack, S::kInconclusive},
                                                         {S::kRollingBack, S::kAborted},
                                                         {S::kRegistered, S::kSuperseded},
                                                         {S::kOfflineEval, S::kSuperseded},
                                                         {S::kLoading, S::kSuperseded},
                                                         {S::kShadow, S::kSuperseded},
                                                         {S::kRegistered, S::kRollingBack},
                                                         {S::kOfflineEval, S::kRollingBack},
                                                         {S::kLoading, S::kRollingBack},
                                                         {S::kShadow, S::kRollingBack},
                                                         {S::kAwaitApproval, S::kRollingBack},
                                                         {S::kCanary, S::kRollingBack},
                                                         {S::kAb, S::kRollingBack},
                                                         {S::kPromoting, S::kRollingBack},
                                                         {S::kBaking, S::kRollingBack},
                                                         {S::kRegistered, S::kInconclusive},
                                                         {S::kOfflineEval, S::kInconclusive}};
  return rows;
}

TEST(TrialTable, IsLegalIsExactlyTheTable) {
  for (int from = 0; from < kStateCount; ++from) {
    for (int to = 0; to < kStateCount; ++to) {
      const auto a = static_cast<State>(from), b = static_cast<State>(to);
      const bool legal = table().count({a, b}) != 0 || (a == b && !is_end(a));
      EXPECT_EQ(legal, is_legal(a, b)) << state_name(a) << " -> " << state_name(b);
    }
  }
}

Evidence random_evidence(Random& random, const Trial& trial, std::int64_t now) {
  Evidence evidence;
  const auto maybe = [&](double p) { return random.chance(p); };
  if (maybe(0.7)) evidence.preflight = PreflightVerdict{maybe(0.8), "truncated", ""};
  if (maybe(0.7)) {
    evidence.offline = OfflineVerdict{};
    evidence.offline->passed = maybe(0.8);
    evidence.offline->harm = maybe(0.1);
  }
  if (maybe(0.8)) {
    evidence.shadow = ShadowVerdict{};
    evidence.shadow->ship = maybe(0.4);
    evidence.shadow->harm = maybe(0.05);
    evidence.shadow->exhausted = maybe(0.1);
    evidence.shadow->scorer_down = maybe(0.1);
  }
  for (auto* live : {&evidence.live, &evidence.bake}) {
    if (!maybe(0.9)) continue;
    *live = healthy(random.below(120), now - static_cast<std::int64_t>(random.below(3'000'000)));
    (*live)->ship = maybe(0.4);
    (*live)->harm = maybe(0.04);
    (*live)->exposed.mismatch = maybe(0.03);
    (*live)->mismatch_hold = maybe(0.03);
  }
  if (maybe(0.02)) evidence.slo_breach = "latency";
  if (maybe(0.05)) evidence.newer_candidate = "another";
  if (maybe(0.1)) evidence.alpha_spent = 2.0;
  evidence.acked_generation = random.below(4);
  evidence.oldest_unacked_ms = static_cast<std::int64_t>(random.below(600'000));
  for (const auto& effect : wanted_effects(trial, evidence)) {
    if (!maybe(0.8)) continue;
    EffectResult& result = evidence.effects[effect.key];
    result.status = maybe(0.95) ? EffectStatus::kApplied : EffectStatus::kFailed;
    result.generation = 1 + random.below(3);
  }
  return evidence;
}

TEST(TrialTable, RandomLivesStayInsideItReachAllOfItAndAlwaysEnd) {
  constexpr std::uint64_t kSeed = 20261123;
  std::printf("seed %llu\n", static_cast<unsigned long long>(kSeed));
  std::set<std::pair<State, State>> seen;
  for (std::uint64_t life = 0; life < 4'000; ++life) {
    Random random(kSeed + life);
    NewTrial wish = wanted();
    wish.plan.approval = random.chance(0.3);
    Trial trial = make_trial(wish, kStart).value();
    std::int64_t now = kStart;
    int steps = 0;
    while (!is_end(trial.state) && ++steps < 2'000) {
      now += static_cast<std::int64_t>(random.chance(0.05) ? random.below(86'400'000)
                                                           : random.below(8'000));
      const Evidence evidence = random_evidence(random, trial, now);
      Transition next;
      if (random.chance(0.05)) {
        const Command command{static_cast<Verb>(random.below(7)), "bob", "", random.chance(0.2)};
        const auto done = apply(trial, command, evidence, now);
        if (!done) {
          EXPECT_EQ(Code::kConflict, done.error().code);
          continue;
        }
        next = *done;
      } else {
        next = advance(trial, evidence, now);
      }
      if (!next.changed) {
        EXPECT_EQ(dump_json(to_json(trial)), dump_json(to_json(next.next)));
        continue;
      }
      ASSERT_TRUE(is_legal(trial.state, next.to));
      ASSERT_EQ(trial.seq + 1, next.next.seq);
      ASSERT_NE(Reason::kNone, next.reason);
      if (next.from != next.to) seen.insert({next.from, next.to});
      trial = parse_trial(to_json(next.next)).value();  // as after a restart
    }
    ASSERT_TRUE(is_end(trial.state)) << "life " << life << " never ends";
    ASSERT_NE(Reason::kNone, trial.end_reason);
    const Evidence evidence = random_evidence(random, trial, now);
    ASSERT_FALSE(advance(trial, evidence, now + 1'000'000'000).changed) << "an end is an end";
  }
  for (const auto& row : table()) {
    EXPECT_TRUE(seen.count(row)) << state_name(row.first) << " -> " << state_name(row.second)
                                 << " was never seen";
  }
}

}  // namespace
}  // namespace trimtab::shadow
