// Settings of the section `promotion`: how a candidate is tried and by which rules it ships.
//
// Plain values with their defaults and the reason beside them; ranges and cross-checks live in
// shadow/plan.h (validate_plan) and in the loader's table. Durations in milliseconds. A trial
// freezes its Plan when it starts: a later reload of the configuration never changes a running
// trial, for a change of plan is a new experiment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trimtab::config {

inline constexpr std::int64_t kMinuteMs = 60'000;
inline constexpr std::int64_t kHourMs = 60 * kMinuteMs;
inline constexpr std::int64_t kDayMs = 24 * kHourMs;

// The longest a trial may stay in each state (PROMOTION.md section 1: every state has one).
struct DwellSettings {
  std::int64_t registered_ms = kHourMs;           // reading and hashing files: minutes at most
  std::int64_t offline_eval_ms = 6 * kHourMs;     // a screen of some hundred records
  std::int64_t loading_ms = kHourMs;              // a fleet that restarts meanwhile
  std::int64_t shadow_ms = 3 * kDayMs;            // then INCONCLUSIVE
  std::int64_t await_approval_ms = 7 * kDayMs;    // then ABORTED: stale evidence ships nothing
  std::int64_t canary_step_ms = 2 * kDayMs;       // a step; then INCONCLUSIVE
  std::int64_t ab_ms = 14 * kDayMs;               // the horizon in time; then INCONCLUSIVE
  std::int64_t promoting_ms = kHourMs;            // routers that never acknowledge
  std::int64_t baking_ms = 14 * kDayMs;           // a hold-back that never fills; then rolled back
  std::int64_t rolling_back_ms = 10 * kMinuteMs;  // routing is champion-only already by then
};

// non_inferior is for operators only: no superiority is asked for, in shadow or live.
enum class Ship { kImprove, kNonInferior };
// auto: match of the greedy answer for short known-good texts, likelihood for longer ones.
// token_f1, rougeL, chrf, bleu: a text metric of each greedy answer against the known-good text.
enum class PairScore { kAuto, kMatch, kLikelihood, kJudge, kTokenF1, kRougeL, kChrf, kBleu };
// The metric that must be superior live. auto: the one that alarmed, else complaint.
enum class LiveMetric { kAuto, kComplaint, kAccuracy };

struct PlanSettings {
  // --- promises (STATISTICS.md section 7); each kept on its own, however often one looks
  double alpha = 0.05;        // shipping a candidate that is not what the ship rule says
  double alpha_harm = 0.05;   // ending a trial as harmful when nothing is worse than the margin
  double alpha_srm = 0.001;   // crying sample-ratio mismatch on healthy assignment
  double margin = 0.02;       // shadow: how much worse on `old` is still "not worse"
  double margin_live = 0.02;  // live: the same for each guardrail
  Ship ship = Ship::kImprove;
  PairScore score = PairScore::kAuto;  // what D of a pair is
  // Answers up to this many tokens are judged by match, longer ones by likelihood (score: auto).
  int short_answer_tokens = 32;
  // Greedy answers are this long at most where a judge or a text metric looks at them.
  int answer_tokens = 256;
  LiveMetric live_metric = LiveMetric::kAuto;
  std::vector<std::string> guardrails = {"error", "refusal", "slow", "long", "costly"};
  double slow_factor = 2.0;    // slow: latency above this many times the champion's frozen p95
  double length_factor = 2.0;  // long, costly: output or all tokens above so many times its p95
  // Live: take what a unit did before the comparison off its values (CUPED; ab.h).
  bool cuped = true;
  std::int64_t n_opt = 5000;   // N*: sample size at which the asymptotic bound is tightest
  std::uint64_t seed = 1;      // order of the pools; mixed with the trial's id

  // --- offline screen
  int offline_max_records = 300;    // hold-out and golden records a screen scores at most
  int offline_max_per_source = 50;  // cap per labelling source: no burst approves itself

  // --- shadow
  int shadow_max_pairs = 5000;      // pairs scored at most over both strata
  int shadow_batch_pairs = 64;      // pairs a scoring call
  int shadow_advisory_pairs = 200;  // without labels that count: pairs without harm asked for
  std::int64_t shadow_max_tokens_per_hour = 2'000'000;  // cost cap of scoring

  // --- live
  bool approval = false;  // AWAIT_APPROVAL before any user sees the candidate
  std::vector<double> ladder = {0.01, 0.05, 0.10, 0.25, 0.50};  // candidate's share; last = A/B
  std::int64_t canary_min_dwell_ms = kHourMs;
  int canary_min_units = 50;              // closed units an arm before a step widens
  std::int64_t ab_min_dwell_ms = kDayMs;  // a daily cycle: users of the night differ
  int ab_max_units = 100'000;             // horizon, closed units an arm
  std::int64_t label_wait_ms = 0;         // W; 0: the 95 % quantile of label delay seen so far
  std::int64_t label_wait_default_ms = kHourMs;  // W while no delay has been seen
  int max_open_units = 200'000;                  // bound on memory: about 200 bytes each
  double holdback = 0.05;                        // old champion's share while baking (1-5 %)
  std::int64_t bake_ms = kDayMs;                 // the window that must be clean
  int bake_min_units = 50;                       // closed units an arm; fewer is not "clean"
  int mirror_ppm = 0;  // share of champion requests copied to the candidate
  std::int64_t no_data_pause_ms = 30 * kMinuteMs;  // live and no eligible unit for so long
  std::int64_t ack_timeout_ms = 5 * kMinuteMs;     // a live router that does not acknowledge
  DwellSettings max_dwell;

  bool supersede = true;  // a newer candidate for the same drift may replace this one
};

// A language model that compares two answers, over the OpenAI API: plan.score judge.
struct JudgeSettings {
  std::string url;         // "http://127.0.0.1:8000": /v1/chat/completions is asked; empty: none
  std::string model;       // as the judge's server names it
  std::string token_file;  // bearer token; empty: none
  std::int64_t timeout_ms = 30'000;            // one question; a pair asks two
  std::int64_t max_tokens_per_hour = 500'000;  // cost cap: about 1,000 pairs of short answers
  std::int64_t max_answer_bytes = 8'192;       // of each answer shown to it
  std::string instructions;                    // what "better" means here; empty: a general text
};

struct PromotionSettings {
  PlanSettings plan;
  JudgeSettings judge;
  std::int64_t cooldown_ms = 6 * kHourMs;  // after every end; automatic jobs only
  int max_tries = 3;                       // per drift, then an alert
  double retry_growth = 0.5;               // tried again once the data grew by this share
  double error_budget = 1.0;  // sum of alphas in budget_window_ms; above: approval needed
  std::int64_t budget_window_ms = 365 * kDayMs;
  int keep_champions = 3;  // former champions kept for undo (PROMOTION.md section 1)
  std::int64_t reverse_shadow_within_ms = 7 * kDayMs;  // harm so soon after a promotion
  std::int64_t reverse_shadow_dwell_ms = 6 * kHourMs;
  int pool_max_records = 20'000;  // records a frozen pool holds at most, a stratum
};

}  // namespace trimtab::config
