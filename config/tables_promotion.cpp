// Rows of `promotion:`. cooldown, max_tries and retry_growth are not here: the file has them once,
// under `retrain:` (settings.h, share_common_fields).
#include "config/tables.h"

namespace trimtab::config {
namespace {

constexpr double kLongest = 90 * kDayInMs;

std::string check_url_or_empty(const std::string& text) {
  return text.empty() ? std::string() : check_http_url(text);
}

Table<DwellSettings> dwell_table() {
  using W = DwellSettings;
  Table<W> t;
  t.duration("registered", &W::registered_ms, 100, kLongest, "reading and hashing files");
  t.duration("offline_eval", &W::offline_eval_ms, 100, kLongest, "the screen");
  t.duration("loading", &W::loading_ms, 100, kLongest, "loading into the fleet");
  t.duration("shadow", &W::shadow_ms, 100, kLongest, "then INCONCLUSIVE");
  t.duration("await_approval", &W::await_approval_ms, 100, kLongest, "then ABORTED");
  t.duration("canary_step", &W::canary_step_ms, 100, kLongest, "then INCONCLUSIVE");
  t.duration("ab", &W::ab_ms, 100, kLongest, "then INCONCLUSIVE");
  t.duration("promoting", &W::promoting_ms, 100, kLongest, "routers that never acknowledge");
  t.duration("baking", &W::baking_ms, 100, kLongest, "then rolled back");
  t.duration("rolling_back", &W::rolling_back_ms, 100, kLongest, "routing is safe already");
  return t;
}

void add_promises(Table<PlanSettings>& t) {
  using P = PlanSettings;
  t.number("alpha", &P::alpha, 1e-6, 0.5, "promise: shipping what the ship rule does not say");
  t.number("alpha_harm", &P::alpha_harm, 1e-6, 0.5, "promise: calling harm what is none");
  t.number("alpha_srm", &P::alpha_srm, 1e-9, 0.1, "promise: crying sample-ratio mismatch");
  t.number("margin", &P::margin, 0.001, 0.5, "shadow: how much worse on `old` is not worse");
  t.number("margin_live", &P::margin_live, 0.001, 0.5, "live: the same for each guardrail");
  t.choice("ship", &P::ship, {"improve", "non_inferior"}, "non_inferior: operator only");
  t.choice("score", &P::score,
           {"auto", "match", "likelihood", "judge", "token_f1", "rougeL", "chrf", "bleu"},
           "what a pair's D is");
  t.integer("short_answer_tokens", &P::short_answer_tokens, 1, 100'000,
            "up to so many tokens an answer is judged by match (score auto)");
  t.integer("answer_tokens", &P::answer_tokens, 1, 100'000,
            "greedy answers for a judge or a text metric, at most");
  t.choice("live_metric", &P::live_metric, {"auto", "complaint", "accuracy"},
           "auto: what alarmed, else complaint");
  t.choices("guardrails", &P::guardrails, {"error", "refusal", "slow", "long", "costly"},
            "live metrics that may not get worse");
  t.number("slow_factor", &P::slow_factor, 1, 1'000, "times the champion's frozen p95 latency");
  t.number("length_factor", &P::length_factor, 1, 1'000, "times its p95 of tokens");
  t.boolean("cuped", &P::cuped, "live: take what a unit did before off its values");
  t.integer("n_opt", &P::n_opt, 10, 1e9, "sample size at which the bound is tightest");
  t.integer("seed", &P::seed, 0, 2147483647.0, "order of the pools; mixed with the trial's id");
}

void add_offline(Table<PlanSettings>& t) {
  using P = PlanSettings;
  t.integer("offline_max_records", &P::offline_max_records, 1, 1'000'000, "the screen's size");
  t.integer("offline_max_per_source", &P::offline_max_per_source, 1, 1'000'000,
            "of one labelling source");
  t.integer("shadow_max_pairs", &P::shadow_max_pairs, 1, 10'000'000, "pairs scored at most");
  t.integer("shadow_batch_pairs", &P::shadow_batch_pairs, 1, 10'000, "pairs a scoring call");
  t.integer("shadow_advisory_pairs", &P::shadow_advisory_pairs, 1, 10'000'000,
            "without labels that count");
  t.integer("shadow_max_tokens_per_hour", &P::shadow_max_tokens_per_hour, 1'000, 1e12,
            "cost cap of scoring");
}

void add_live(Table<PlanSettings>& t) {
  using P = PlanSettings;
  t.boolean("approval", &P::approval, "a person says yes before any user sees the candidate");
  t.numbers("ladder", &P::ladder, 0.001, 0.5, "the candidate's share, step by step; last: the A/B");
  t.duration("canary_min_dwell", &P::canary_min_dwell_ms, 0, kLongest, "a step at least");
  t.integer("canary_min_units", &P::canary_min_units, 1, 10'000'000, "closed units an arm");
  t.duration("ab_min_dwell", &P::ab_min_dwell_ms, 0, kLongest, "a daily cycle");
  t.integer("ab_max_units", &P::ab_max_units, 10, 1e9, "horizon, closed units an arm");
  t.duration("label_wait", &P::label_wait_ms, 0, kLongest,
             "W; 0 = the 95 % quantile of label delay");
  t.duration("label_wait_default", &P::label_wait_default_ms, 0, kLongest,
             "W while no delay has been seen");
  t.integer("max_open_units", &P::max_open_units, 100, 100'000'000, "bound on memory");
  t.number("holdback", &P::holdback, 0.001, 0.5, "old champion's share while baking");
  t.duration("bake", &P::bake_ms, 0, kLongest, "the window that must be clean");
  t.integer("bake_min_units", &P::bake_min_units, 1, 10'000'000, "closed units an arm");
  t.integer("mirror_ppm", &P::mirror_ppm, 0, 1'000'000, "champion requests copied, per million");
  t.duration("no_data_pause", &P::no_data_pause_ms, 100, kLongest, "live without eligible units");
  t.duration("ack_timeout", &P::ack_timeout_ms, 100, kLongest, "a live router that is silent");
  t.section("max_dwell", &P::max_dwell, dwell_table(), "the longest a trial stays in a state");
  t.boolean("supersede", &P::supersede, "a newer candidate for the same drift may replace one");
}

Table<JudgeSettings> judge_table() {
  using J = JudgeSettings;
  Table<J> t;
  t.text("url", &J::url, "an OpenAI-compatible server; empty: no judge").check(check_url_or_empty);
  t.text("model", &J::model, "as the judge's server names it");
  t.path("token_file", &J::token_file, "file that holds its bearer token; empty: none");
  t.duration("timeout", &J::timeout_ms, 100, 3'600'000, "one question; a pair asks two");
  t.integer("max_tokens_per_hour", &J::max_tokens_per_hour, 100, 1e12, "cost cap of judging");
  t.size("max_answer", &J::max_answer_bytes, 16, 1 << 20, "of each answer shown to it");
  t.text("instructions", &J::instructions, "what `better` means; empty: a general text");
  return t;
}

Table<PlanSettings> plan_table() {
  Table<PlanSettings> t;
  add_promises(t);
  add_offline(t);
  add_live(t);
  return t;
}

}  // namespace

Table<PromotionSettings> promotion_table() {
  using P = PromotionSettings;
  Table<P> t;
  t.section("plan", &P::plan, plan_table(), "frozen into each trial when it starts");
  t.section("judge", &P::judge, judge_table(), "asked where plan.score is judge");
  t.number("error_budget", &P::error_budget, 0, 1'000, "sum of alphas; above: approval needed");
  t.duration("budget_window", &P::budget_window_ms, 1'000, 20 * kYearInMs, "over which it sums");
  t.integer("keep_champions", &P::keep_champions, 1, 100, "former champions kept for undo");
  t.duration("reverse_shadow_within", &P::reverse_shadow_within_ms, 0, kYearInMs,
             "harm so soon after a promotion tries the predecessor");
  t.duration("reverse_shadow_dwell", &P::reverse_shadow_dwell_ms, 100, kLongest, "and so long");
  t.integer("pool_max_records", &P::pool_max_records, 10, 10'000'000, "a frozen pool, a stratum");
  return t;
}

}  // namespace trimtab::config
