#include "shadow/shadow_gate.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

using config::PairScore;
using config::Ship;

constexpr std::size_t kNew = 0, kOld = 1;                          // with labels
constexpr std::size_t kLikelihood = 0, kLength = 1, kLatency = 2;  // advisory

std::optional<double> match_difference(const ScoreResult& result) {
  if (!result.champion.match || !result.candidate.match) return std::nullopt;
  return (*result.candidate.match ? 1.0 : 0.0) - (*result.champion.match ? 1.0 : 0.0);
}

std::optional<double> metric_difference(const ScoreResult& result) {
  const auto& a = result.champion.text_metric;
  const auto& b = result.candidate.text_metric;
  const auto good = [](const std::optional<double>& x) { return x && *x >= 0.0 && *x <= 1.0; };
  if (!good(a) || !good(b)) return std::nullopt;
  return *b - *a;
}

// exp(mean log-probability) is the geometric-mean probability of a token: in [0, 1].
std::optional<double> likelihood_difference(const ScoreResult& result) {
  const auto& a = result.champion.mean_logprob;
  const auto& b = result.candidate.mean_logprob;
  if (!a || !b || !std::isfinite(*a) || !std::isfinite(*b) || *a > 1e-6 || *b > 1e-6) {
    return std::nullopt;
  }
  return std::min(std::exp(*b), 1.0) - std::min(std::exp(*a), 1.0);
}

// Advisory: -1 when the candidate is more than `factor` times the champion, +1 the other way.
std::optional<double> ratio_difference(std::optional<double> champion,
                                       std::optional<double> candidate, double factor) {
  if (!champion || !candidate || !(*champion >= 0.0) || !(*candidate >= 0.0)) return std::nullopt;
  if (*candidate > factor * *champion) return -1.0;
  if (*champion > factor * *candidate) return 1.0;
  return 0.0;
}

evidence::PairedBettingParams params_of(const Plan& plan, std::size_t tests) {
  evidence::PairedBettingParams params;
  params.alpha = plan.alpha;
  params.alpha_harm = plan.alpha_harm / static_cast<double>(tests);
  params.margin = plan.margin;
  return params;
}

bool passes_new(const Plan& plan, const EvidenceRow& row) {
  return plan.ship == Ship::kImprove ? row.superior : row.non_inferior;
}

std::string progress(const EvidenceRow& row, bool superior) {
  return fmt::format("{}: {} pairs, mean {:+.3f}, {} e^{:.1f} of e^{:.1f}", row.metric, row.pairs,
                     row.mean_d, superior ? "superior" : "non-inferior",
                     superior ? row.log_e_superior : row.log_e_non_inferior, row.log_threshold);
}

}  // namespace

std::optional<double> pair_difference(const ScoreResult& result, const Plan& plan) {
  const auto& judge = result.judge;
  switch (plan.score) {
    case PairScore::kMatch: return match_difference(result);
    case PairScore::kLikelihood: return likelihood_difference(result);
    case PairScore::kJudge:
      if (!judge || (*judge != -1.0 && *judge != 0.0 && *judge != 1.0)) return std::nullopt;
      return judge;
    case PairScore::kTokenF1:
    case PairScore::kRougeL:
    case PairScore::kChrf:
    case PairScore::kBleu: return metric_difference(result);
    case PairScore::kAuto: break;
  }
  const int tokens = std::max(result.champion.tokens, result.candidate.tokens);
  if (tokens <= 0) return std::nullopt;  // the length of the known-good text is not known
  return tokens <= plan.short_answer_tokens ? match_difference(result)
                                            : likelihood_difference(result);
}

ShadowGate::ShadowGate(const Plan& plan, bool advisory, bool no_past)
    : plan_(plan), advisory_(advisory), no_past_(no_past) {
  const std::vector<std::string> names =
      advisory ? std::vector<std::string>{"likelihood", "length", "latency"}
               : std::vector<std::string>{"new", "old"};
  for (const auto& name : names) streams_.emplace_back(name, params_of(plan, names.size()));
}

void ShadowGate::add(Stratum stratum, const ScoreResult& result) {
  if (!advisory_) {
    streams_[stratum == Stratum::kNew ? kNew : kOld].add(pair_difference(result, plan_));
    return;
  }
  const auto length = [](const AdapterScore& score) {
    return std::optional<double>(static_cast<double>(score.greedy.size()));
  };
  streams_[kLikelihood].add(likelihood_difference(result));
  streams_[kLength].add(
      ratio_difference(length(result.champion), length(result.candidate), plan_.length_factor));
  if (result.champion.latency_s || result.candidate.latency_s) {
    streams_[kLatency].add(
        ratio_difference(result.champion.latency_s, result.candidate.latency_s, plan_.slow_factor));
  }
}

void ShadowGate::add_difference(Stratum stratum, std::optional<double> d) {
  CHECK(!advisory_, "advisory pairs have three differences each");
  streams_[stratum == Stratum::kNew ? kNew : kOld].add(d);
}

void ShadowGate::set_exhausted(Stratum stratum) {
  (stratum == Stratum::kNew ? new_exhausted_ : old_exhausted_) = true;
}

ShadowGate::Want ShadowGate::next_batch() const {
  const ShadowVerdict now = verdict();
  if (now.ship || now.harm || now.exhausted) return {};
  const auto batch = static_cast<std::size_t>(plan_.shadow_batch_pairs);
  if (advisory_) return {new_exhausted_ ? 0 : batch, new_exhausted_ ? batch : 0};
  const bool need_new = !passes_new(plan_, streams_[kNew].row()) && !new_exhausted_;
  const bool need_old = !no_past_ && !streams_[kOld].row().non_inferior && !old_exhausted_;
  if (need_new && need_old) return {batch / 2 + batch % 2, batch / 2};
  return {need_new ? batch : 0, need_old ? batch : 0};
}

ShadowVerdict ShadowGate::verdict() const {
  ShadowVerdict verdict;
  verdict.advisory = advisory_;
  std::uint64_t scored = 0;
  for (const auto& stream : streams_) {
    verdict.strata.push_back(stream.row());
    verdict.missing += stream.missing();
    scored += stream.pairs();
    if (verdict.strata.back().harm && !verdict.harm) {
      verdict.harm = true;
      verdict.harm_on = stream.metric();
    }
  }
  const bool all_drawn = new_exhausted_ && (old_exhausted_ || no_past_);
  if (advisory_) {
    verdict.pairs = streams_[kLikelihood].pairs();
    verdict.missing = streams_[kLikelihood].missing();
    const auto need = static_cast<std::uint64_t>(plan_.shadow_advisory_pairs);
    verdict.ship = !verdict.harm && verdict.pairs >= need;
    verdict.exhausted = !verdict.ship && new_exhausted_ && old_exhausted_;
    verdict.message = fmt::format("advisory, no labels that count: {} of {} pairs without harm",
                                  verdict.pairs, need);
    return verdict;
  }
  verdict.pairs = scored;
  const EvidenceRow& fresh = verdict.strata[kNew];
  const EvidenceRow& old = verdict.strata[kOld];
  const bool new_ok = passes_new(plan_, fresh);
  const bool old_ok = no_past_ || old.non_inferior;
  verdict.ship = !verdict.harm && new_ok && old_ok;
  const bool stuck = (!new_ok && new_exhausted_) || (!old_ok && old_exhausted_);
  const bool spent = scored + verdict.missing >= static_cast<std::uint64_t>(plan_.shadow_max_pairs);
  verdict.exhausted = !verdict.ship && (all_drawn || stuck || spent);
  verdict.message = progress(fresh, plan_.ship == Ship::kImprove);
  if (!no_past_) verdict.message += "; " + progress(old, false);
  if (verdict.exhausted) verdict.message += spent ? "; pair budget used up" : "; pool used up";
  return verdict;
}

Json ShadowGate::save() const {
  Json streams = Json::array();
  for (const auto& stream : streams_) streams.push_back(stream.save());
  return {{"advisory", advisory_},           {"no_past", no_past_},
          {"new_exhausted", new_exhausted_}, {"old_exhausted", old_exhausted_},
          {"plan_hash", config_hash(plan_)}, {"streams", std::move(streams)}};
}

Result<ShadowGate> ShadowGate::restore(const Plan& plan, const Json& saved) {
  TRIMTAB_TRY(const auto advisory, json_get<bool>(saved, "advisory"));
  TRIMTAB_TRY(const auto no_past, json_get<bool>(saved, "no_past"));
  TRIMTAB_TRY(const auto hash, json_get<std::string>(saved, "plan_hash"));
  if (hash != config_hash(plan)) {
    return fail(Code::kCorrupt, "shadow gate: saved under another plan");
  }
  ShadowGate gate(plan, advisory, no_past);
  TRIMTAB_TRY(gate.new_exhausted_, json_get<bool>(saved, "new_exhausted"));
  TRIMTAB_TRY(gate.old_exhausted_, json_get<bool>(saved, "old_exhausted"));
  if (!saved.contains("streams") || saved["streams"].size() != gate.streams_.size()) {
    return fail(Code::kCorrupt, "shadow gate: streams are missing");
  }
  for (std::size_t i = 0; i < gate.streams_.size(); ++i) {
    TRIMTAB_CHECK_OK(gate.streams_[i].restore(saved["streams"][i]));
  }
  return gate;
}

}  // namespace trimtab::shadow
