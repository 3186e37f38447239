#include "daemon/pair_scoring.h"
#include "daemon/score_annotate.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/complaint.h"
#include "daemon/stored_text.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPage = 2'000;
constexpr std::int64_t kHourMs = 3'600'000;
constexpr int kScorerDown = 3;  // failures in a row before the trial is told
constexpr std::int64_t kRetryMs = 1'000, kRetryMostMs = 60'000;

// Further away than any back-off: it was set before the clock was set back.
bool backs_off(std::int64_t now_ms, std::int64_t next_at_ms) {
  return now_ms < next_at_ms && next_at_ms - now_ms <= kRetryMostMs;
}

// Reads every label that may decide, page by page.
Status collect(Step& step, const config::TargetSettings& settings, LabelQuery query,
               std::int64_t arrived_until_ms, std::vector<shadow::LabelledRecord>& out) {
  query.target = settings.name;
  query.eval = true;
  query.limit = kPage;
  const auto limit = static_cast<std::size_t>(settings.promotion.pool_max_records);
  for (;;) {
    TRIMTAB_TRY(const auto rows, step.store.labels(query));
    for (const auto& row : rows) {
      query.after_row = std::max(query.after_row, row.record.row);
      if (row.feedback.arrived_ms > arrived_until_ms || row.record.aborted) continue;
      TRIMTAB_TRY(const auto selection, shadow::parse_selection(row.feedback.selection));
      const auto text = read_stored_text(step.records, row.record.text);
      if (!text) continue;  // retention took it: it cannot be scored any more
      shadow::LabelledRecord labelled;
      labelled.id = row.record.id;
      labelled.unit =
          unit_of_ids(settings.unit_key, text->user_id, text->session_id, row.record.id);
      labelled.source =
          row.feedback.source_id.empty() ? row.feedback.source : row.feedback.source_id;
      labelled.ts_ms = row.record.ts_ms;
      labelled.selection = selection;
      labelled.hash_sampled = row.feedback.propensity.has_value();
      const bool good = row.feedback.score && *row.feedback.score >= kGoodScore;
      labelled.known_good = !row.feedback.correction.empty() ? row.feedback.correction
                            : good                           ? text->output
                                                             : "";
      out.push_back(std::move(labelled));
    }
    if (static_cast<std::int64_t>(rows.size()) < kPage || out.size() >= 2 * limit) return {};
  }
}

}  // namespace

PairScoring::PairScoring(const config::TargetSettings& settings, const shadow::Plan& plan,
                         std::string subject)
    : settings_(&settings), plan_(plan), subject_(std::move(subject)) {}

Result<std::unique_ptr<PairScoring>> PairScoring::freeze(
    Step& step, const config::TargetSettings& settings, const shadow::Plan& plan,
    const std::string& subject, std::int64_t onset_ms, std::int64_t frozen_ms) {
  auto made = std::unique_ptr<PairScoring>(new PairScoring(settings, plan, subject));
  std::vector<shadow::LabelledRecord> labelled;
  for (const char* selection : {"random", "judge"}) {
    LabelQuery fresh, old;
    fresh.since_ms = onset_ms;
    fresh.selection = old.selection = selection;
    old.until_ms = onset_ms;
    TRIMTAB_CHECK_OK(collect(step, settings, fresh, step.now_ms, labelled));
    if (onset_ms > 0) TRIMTAB_CHECK_OK(collect(step, settings, old, frozen_ms, labelled));
  }
  shadow::FrozenPool::Params params{
      .onset_ms = onset_ms,
      .eval_share = settings.eval_share,
      .seed = stable_hash(subject, plan.seed),
      .max_records = static_cast<std::size_t>(settings.promotion.pool_max_records),
      .advisory = false};
  made->pool_ = shadow::FrozenPool::freeze(labelled, params);
  made->advisory_ = made->pool_.size(shadow::Stratum::kNew) == 0;
  if (made->advisory_) {
    // No label that counts: users' texts show harm, never a gain, and the A/B decides.
    LabelQuery texts;
    texts.since_ms = onset_ms;
    texts.selection = "user";
    TRIMTAB_CHECK_OK(collect(step, settings, texts, step.now_ms, labelled));
    params.advisory = true;
    made->pool_ = shadow::FrozenPool::freeze(labelled, params);
  }
  TRIMTAB_TRY(
      const auto before,
      step.store.records(
          {.target = settings.name, .until_ms = std::max<std::int64_t>(onset_ms, 1), .limit = 1}));
  made->no_past_ = before.empty();
  made->gate_.emplace(plan, made->advisory_, made->no_past_);
  return made;
}

std::vector<shadow::PoolItem> PairScoring::screen_items() const {
  const auto most = static_cast<std::size_t>(plan_.offline_max_records);
  const auto& old = pool_.items(shadow::Stratum::kOld);
  std::vector<shadow::PoolItem> items(
      old.begin(), old.begin() + static_cast<std::ptrdiff_t>(std::min(most, old.size())));
  const auto fresh =
      shadow::capped_by_source(pool_.items(shadow::Stratum::kNew), most,
                               static_cast<std::size_t>(plan_.offline_max_per_source));
  items.insert(items.end(), fresh.begin(), fresh.end());
  return items;
}

Status PairScoring::order_screen(Step& step, const std::string& key, const ScoredPairing& pairing) {
  if (screen_ || !flying_.empty() || backs_off(step.now_ms, next_at_ms_)) return {};
  return order(step, key, pairing, screen_items(), true);
}

Status PairScoring::order_pairs(Step& step, const std::string& key, const ScoredPairing& pairing,
                                int batch) {
  if (!flying_.empty() || backs_off(step.now_ms, next_at_ms_)) return {};
  if (std::abs(step.now_ms - window_ms_) >= kHourMs) {
    window_ms_ = step.now_ms;
    window_tokens_ = 0;
  }
  if (window_tokens_ >= plan_.shadow_max_tokens_per_hour) return {};
  if (batch_.empty()) {
    const auto want = gate_->next_batch();
    const std::size_t most = batch > 0 ? static_cast<std::size_t>(batch)
                                       : static_cast<std::size_t>(plan_.shadow_batch_pairs);
    const auto draw = [&](shadow::Stratum stratum, std::size_t count) {
      if (count == 0) return;
      const auto items = pool_.draw(stratum, std::min(count, most));
      batch_.insert(batch_.end(), items.begin(), items.end());
      if (pool_.left(stratum) == 0 && items.empty()) gate_->set_exhausted(stratum);
    };
    draw(shadow::Stratum::kNew, want.fresh);
    draw(shadow::Stratum::kOld, want.old);
    dirty_ = true;
    if (batch_.empty()) return {};
  }
  return order(step, key + "#" + std::to_string(batches_), pairing, batch_, false);
}

Status PairScoring::order(Step& step, const std::string& key, const ScoredPairing& pairing,
                          const std::vector<shadow::PoolItem>& items, bool golden) {
  const int answer_tokens =
      needs_annotation(plan_.score) ? plan_.answer_tokens : plan_.short_answer_tokens;
  EffectOrder order{.key = key,
                    .kind = "score",
                    .target = settings_->name,
                    .subject = subject_,
                    .payload = dump_json(Json{{"champion", shadow::to_json(pairing.champion)},
                                              {"candidate", shadow::to_json(pairing.candidate)},
                                              {"score", static_cast<int>(plan_.score)},
                                              {"answer_tokens", answer_tokens}}),
                    .slow = true};
  for (const auto& item : items) {
    TRIMTAB_TRY(const auto row, step.store.record_by_id(settings_->name, item.id));
    if (!row) continue;
    const auto text = read_stored_text(step.records, row->text);
    if (!text) continue;  // becomes a missing pair
    const char* stratum = item.stratum == shadow::Stratum::kNew ? "new:" : "old:";
    order.items.push_back({.id = stratum + item.id,
                           .messages_json = dump_json(text->messages),
                           .text = item.known_good});
  }
  if (golden && !settings_->golden.empty()) {
    TRIMTAB_TRY(const auto set, shadow::read_golden(settings_->golden));
    for (const auto& item : set) {
      order.items.push_back(
          {.id = "golden:" + item.id, .messages_json = item.input_json, .text = item.output});
    }
  }
  if (golden && order.items.empty()) {  // nothing to score: the screen says what that means
    dirty_ = true;
    return on_screen({});
  }
  TRIMTAB_CHECK_OK(step.order(std::move(order)));
  flying_ = key;
  return {};
}

Result<bool> PairScoring::on_scored(Step& step, const EffectOutcome& outcome) {
  if (outcome.kind != "score" || outcome.key != flying_) return false;
  flying_.clear();
  dirty_ = true;
  if (!outcome.ok) {
    TRIMTAB_CHECK_OK(on_failure(step, outcome));
    return true;
  }
  auto results = shadow::parse_score_output(outcome.payload);
  if (!results) {
    EffectOutcome failed = outcome;
    failed.message = results.error().message;
    TRIMTAB_CHECK_OK(on_failure(step, failed));
    return true;
  }
  failures_ = 0;
  next_at_ms_ = 0;
  for (const auto& result : *results) {
    window_tokens_ += result.champion.tokens + result.candidate.tokens;
  }
  if (outcome.key.find('#') == std::string::npos) {
    TRIMTAB_CHECK_OK(on_screen(*results));
  } else {
    TRIMTAB_CHECK_OK(on_pairs(step, *results));
  }
  TRIMTAB_CHECK_OK(step.tx.finish_intent(outcome.intent, IntentState::kApplied, "{}", step.now_ms));
  return true;
}

Status PairScoring::on_failure(Step& step, const EffectOutcome& outcome) {
  ++failures_;
  next_at_ms_ = step.now_ms + std::min(kRetryMs << std::min(failures_ - 1, 6), kRetryMostMs);
  log::warn("{}: scoring failed ({} in a row): {}", subject_, failures_, outcome.message);
  return step.tx.count_attempt(outcome.intent, step.now_ms);
}

Status PairScoring::on_screen(const std::vector<shadow::ScoreResult>& results) {
  std::vector<shadow::ScoreResult> old, golden, fresh;
  for (auto result : results) {
    const auto colon = result.id.find(':');
    const std::string stratum = result.id.substr(0, colon);
    result.id.erase(0, colon + 1);
    (stratum == "new" ? fresh : stratum == "old" ? old : golden).push_back(std::move(result));
  }
  screen_ = shadow::offline_screen(plan_, {.holdout = old,
                                           .golden = golden,
                                           .fresh = fresh,
                                           .no_past = no_past_,
                                           .advisory = advisory_});
  return {};
}

Status PairScoring::on_pairs(Step& step, const std::vector<shadow::ScoreResult>& results) {
  std::map<std::string, const shadow::ScoreResult*> by_id;
  for (const auto& result : results) by_id[result.id] = &result;
  // In the order of the draw, whatever order the scorer answered in.
  for (const auto& item : batch_) {
    const bool is_new = item.stratum == shadow::Stratum::kNew;
    const auto found = by_id.find((is_new ? "new:" : "old:") + item.id);
    const shadow::ScoreResult result =
        found == by_id.end() ? shadow::ScoreResult{.id = item.id, .champion = {}, .candidate = {}}
                             : *found->second;
    gate_->add(item.stratum, result);
    const auto side = [](const shadow::AdapterScore& score) {
      return Json{{"match", score.match ? Json(*score.match) : Json()},
                  {"mean_logprob", score.mean_logprob ? Json(*score.mean_logprob) : Json()},
                  {"latency_s", score.latency_s ? Json(*score.latency_s) : Json()},
                  {"text_metric", score.text_metric ? Json(*score.text_metric) : Json()},
                  {"chars", score.greedy.size()},
                  {"tokens", score.tokens}};
    };
    const auto d = shadow::pair_difference(result, plan_);
    const Json row = {{"id", item.id},
                      {"stratum", std::string(shadow::stratum_name(item.stratum))},
                      {"source", item.source},
                      {"d", d ? Json(*d) : Json()},
                      {"gate", std::string(advisory_  ? no_past_ ? "advisory, no_past" : "advisory"
                                           : no_past_ ? "no_past"
                                                      : "")},
                      {"judge", result.judge ? Json(*result.judge) : Json()},
                      {"champion", side(result.champion)},
                      {"candidate", side(result.candidate)}};
    TRIMTAB_TRY(const auto seq, step.tx.append_decision(subject_, "pairs", dump_json(row)));
    (void)seq;
    step.metrics
        .counter("trimtab_shadow_pairs_total", "Pairs scored in the shadow", {"target", "stratum"})
        .with({settings_->name, std::string(shadow::stratum_name(item.stratum))})
        .add();
  }
  ++batches_;
  batch_.clear();
  for (const auto stratum : {shadow::Stratum::kNew, shadow::Stratum::kOld}) {
    if (pool_.left(stratum) == 0) gate_->set_exhausted(stratum);
  }
  return {};
}

shadow::ShadowVerdict PairScoring::verdict() const {
  auto verdict = gate_->verdict();
  verdict.scorer_down = failures_ >= kScorerDown;
  return verdict;
}

Json PairScoring::save() {
  dirty_ = false;
  Json batch = Json::array();
  for (const auto& item : batch_) {
    batch.push_back(
        {item.id, item.source, item.known_good, item.ts_ms, item.stratum == shadow::Stratum::kNew});
  }
  return {{"pool", pool_.save()},
          {"advisory", advisory_},
          {"no_past", no_past_},
          {"gate", gate_->save()},
          {"screen", screen_ ? shadow::to_json(*screen_) : Json()},
          {"batch", batch},
          {"batches", batches_},
          {"failures", failures_},
          {"next_at_ms", next_at_ms_},
          {"window_ms", window_ms_},
          {"window_tokens", window_tokens_}};
}

Result<std::unique_ptr<PairScoring>> PairScoring::restore(const config::TargetSettings& settings,
                                                          const shadow::Plan& plan,
                                                          const std::string& subject,
                                                          const Json& saved) {
  auto made = std::unique_ptr<PairScoring>(new PairScoring(settings, plan, subject));
  TRIMTAB_TRY(made->pool_, shadow::FrozenPool::restore(saved.at("pool")));
  made->advisory_ = saved.at("advisory").get<bool>();
  made->no_past_ = saved.at("no_past").get<bool>();
  TRIMTAB_TRY(auto gate, shadow::ShadowGate::restore(plan, saved.at("gate")));
  made->gate_.emplace(std::move(gate));
  if (!saved.at("screen").is_null()) {
    TRIMTAB_TRY(made->screen_, shadow::parse_offline_verdict(saved.at("screen")));
  }
  for (const auto& item : saved.at("batch")) {
    made->batch_.push_back(
        {.id = item.at(0).get<std::string>(),
         .source = item.at(1).get<std::string>(),
         .known_good = item.at(2).get<std::string>(),
         .ts_ms = item.at(3).get<std::int64_t>(),
         .stratum = item.at(4).get<bool>() ? shadow::Stratum::kNew : shadow::Stratum::kOld});
  }
  made->batches_ = saved.at("batches").get<std::uint64_t>();
  made->failures_ = saved.at("failures").get<int>();
  made->next_at_ms_ = saved.at("next_at_ms").get<std::int64_t>();
  made->window_ms_ = saved.at("window_ms").get<std::int64_t>();
  made->window_tokens_ = saved.at("window_tokens").get<std::int64_t>();
  made->dirty_ = false;
  return made;
}

}  // namespace trimtab::daemon
