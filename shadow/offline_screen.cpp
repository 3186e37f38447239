#include "shadow/offline_screen.h"

#include <fmt/format.h>

#include "shadow/shadow_gate.h"

namespace trimtab::shadow {
namespace {

evidence::PairedBettingParams screen_params(const Plan& plan) {
  evidence::PairedBettingParams params;
  params.alpha = plan.alpha;
  params.alpha_harm = plan.alpha_harm;
  params.margin = plan.margin;
  return params;
}

std::uint64_t add_all(PairedStream& stream, const Plan& plan, std::span<const ScoreResult> scores) {
  const std::uint64_t before = stream.pairs();
  for (const ScoreResult& score : scores) stream.add(pair_difference(score, plan));
  return stream.pairs() - before;
}

OfflineVerdict failed(OfflineVerdict verdict, const char* failure, std::string message) {
  verdict.failure = failure;
  verdict.message = std::move(message);
  return verdict;
}

}  // namespace

OfflineVerdict offline_screen(const Plan& plan, const OfflineScores& scores) {
  PairedStream old("old", screen_params(plan)), fresh("new", screen_params(plan));
  OfflineVerdict verdict;
  verdict.old_pairs = add_all(old, plan, scores.holdout);
  verdict.golden_pairs = add_all(old, plan, scores.golden);
  verdict.new_pairs = add_all(fresh, plan, scores.fresh);
  verdict.old_mean_d = old.row().mean_d;
  verdict.new_mean_d = fresh.row().mean_d;
  verdict.harm = old.row().harm;
  if (verdict.harm) {
    return failed(verdict, "harm_on_holdout",
                  fmt::format("mean {:+.3f} over {} hold-out and golden pairs", verdict.old_mean_d,
                              old.pairs()));
  }
  if (old.pairs() == 0 && !scores.no_past && !scores.advisory) {
    return failed(verdict, "no_holdout",
                  "no hold-out record could be scored: collect randomly selected labels, or give "
                  "a golden file");
  }
  if (old.pairs() > 0 && verdict.old_mean_d < -plan.margin) {
    return failed(verdict, "worse_on_holdout",
                  fmt::format("mean {:+.3f} over {} hold-out and golden pairs, below -{:g}",
                              verdict.old_mean_d, old.pairs(), plan.margin));
  }
  const bool asks_gain = plan.ship == config::Ship::kImprove && !scores.advisory;
  if (asks_gain && verdict.new_pairs == 0) {
    return failed(verdict, "no_new_pairs", "no record since the onset could be scored");
  }
  if (asks_gain && verdict.new_mean_d <= 0.0) {
    return failed(verdict, "no_gain_on_new",
                  fmt::format("mean {:+.3f} over {} new pairs: no gain to ship", verdict.new_mean_d,
                              verdict.new_pairs));
  }
  verdict.passed = true;
  verdict.message =
      fmt::format("old {:+.3f} over {} pairs, new {:+.3f} over {} pairs", verdict.old_mean_d,
                  old.pairs(), verdict.new_mean_d, verdict.new_pairs);
  return verdict;
}

}  // namespace trimtab::shadow
