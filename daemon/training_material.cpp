#include "daemon/training_material.h"

#include <algorithm>

#include "base/json.h"
#include "daemon/complaint.h"
#include "daemon/stored_text.h"
#include "retrain/quarantine.h"
#include "retrain/replay.h"
#include "shadow/pools.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPage = 2'000;

std::vector<retrain::Message> messages_of(const Json& messages) {
  std::vector<retrain::Message> out;
  for (const auto& message : messages) {
    out.push_back({.role = json_or<std::string>(message, "role", "user"),
                   .content = json_or<std::string>(message, "content", "")});
  }
  return out;
}

// A label as training sees it; nullopt when it teaches nothing (a bare "wrong").
std::optional<retrain::Example> example_of(const config::TargetSettings& settings,
                                           const LabelRow& row, const StoredText& text) {
  retrain::Example example;
  const auto& feedback = row.feedback;
  const bool good = feedback.score && *feedback.score >= kGoodScore;
  if (!feedback.correction.empty() && feedback.correction != text.output) {
    example.kind = retrain::ExampleKind::kCorrection;
    example.completion = feedback.correction;
  } else if (good || !feedback.correction.empty()) {
    example.kind = retrain::ExampleKind::kGood;
    example.completion = text.output;
  } else {
    return std::nullopt;
  }
  example.record_id = row.record.id;
  example.unit = unit_of_ids(settings.unit_key, text.user_id, text.session_id, row.record.id);
  example.messages = messages_of(text.messages);
  example.tenant = row.record.tenant;
  example.source_id = feedback.source_id;
  example.selection = feedback.selection;
  example.ts_ms = row.record.ts_ms;
  example.feedback_ts_ms = feedback.ts_ms;
  return example;
}

Status add_labels(const config::TargetSettings& settings, Step& step, LabelQuery query, bool replay,
                  TrainingMaterial& material, retrain::ReplayReservoir* reservoir) {
  query.target = settings.name;
  query.eval = false;
  query.limit = kPage;
  for (;;) {
    TRIMTAB_TRY(const auto rows, step.store.labels(query));
    for (const auto& row : rows) {
      query.after_row = std::max(query.after_row, row.record.row);
      if (row.record.aborted || row.feedback.quarantined) continue;
      const auto text = read_stored_text(step.records, row.record.text);
      if (!text) continue;
      auto example = example_of(settings, row, *text);
      if (!example) continue;
      // Before the onset only what is known to be right is replayed: the labels of the random
      // sample and corrections alike.
      if (replay) {
        reservoir->offer(*example);
      } else {
        material.inputs.examples.push_back(std::move(*example));
      }
    }
    if (static_cast<std::int64_t>(rows.size()) < kPage) return {};
  }
}

}  // namespace

Result<HeldBack> find_held_back(const config::TargetSettings& settings, Step& step,
                                std::int64_t onset_ms, const std::vector<std::string>& released) {
  const auto& data = settings.retrain.data;
  LabelQuery query;
  query.target = settings.name;
  query.since_ms = step.now_ms - data.max_age_ms;
  query.eval = query.quarantined = false;
  query.with_correction = true;
  TRIMTAB_TRY(const auto rows, step.store.corrections(query));
  std::vector<retrain::CorrectionTime> corrections;
  corrections.reserve(rows.size());
  for (const CorrectionRow& row : rows) {
    corrections.push_back({row.feedback_ms > 0 ? row.feedback_ms : row.record_ms, row.source_id,
                           row.selection == "random"});
  }
  HeldBack held;
  held.bursts = retrain::find_bursts(corrections, data, {released.begin(), released.end()});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool fresh = rows[i].record_ms >= onset_ms;
    held.corrections += fresh && retrain::in_burst(corrections[i], held.bursts) ? 1 : 0;
  }
  return held;
}

Result<TrainingMaterial> gather_material(const config::TargetSettings& settings, Step& step,
                                         std::int64_t onset_ms,
                                         const std::vector<std::string>& released) {
  const auto& data = settings.retrain.data;
  TrainingMaterial material;
  material.inputs.now_ms = step.now_ms;
  material.inputs.seed = static_cast<std::uint64_t>(settings.retrain.training.seed);
  LabelQuery fresh;
  fresh.since_ms = std::max(onset_ms, step.now_ms - data.max_age_ms);
  TRIMTAB_CHECK_OK(add_labels(settings, step, fresh, false, material, nullptr));
  retrain::ReplayReservoir reservoir(data, material.inputs.seed);
  LabelQuery old;
  old.since_ms = step.now_ms - data.max_age_ms;
  old.until_ms = onset_ms;
  if (onset_ms > 0) TRIMTAB_CHECK_OK(add_labels(settings, step, old, true, material, &reservoir));
  material.inputs.replay = reservoir.items();
  TRIMTAB_TRY(auto held, find_held_back(settings, step, onset_ms, released));
  material.inputs.bursts = std::move(held.bursts);
  for (const auto& example : material.inputs.examples) {
    if (retrain::in_burst(example, material.inputs.bursts)) ++material.quarantined;
  }
  if (!settings.golden.empty()) {
    TRIMTAB_TRY(const auto golden, shadow::read_golden(settings.golden));
    for (const auto& item : golden) {
      TRIMTAB_TRY(const Json messages, parse_json(item.input_json));
      material.inputs.protected_texts.push_back({retrain::prompt_text(messages_of(messages))});
    }
  }
  LabelQuery holdout;
  holdout.target = settings.name;
  holdout.eval = true;
  holdout.selection = "random";
  holdout.until_ms = std::max<std::int64_t>(onset_ms, 1);
  holdout.limit = settings.promotion.pool_max_records;
  TRIMTAB_TRY(const auto protected_rows, step.store.labels(holdout));
  for (const auto& row : protected_rows) {
    const auto text = read_stored_text(step.records, row.record.text);
    if (text) {
      material.inputs.protected_texts.push_back(
          {retrain::prompt_text(messages_of(text->messages))});
    }
  }
  return material;
}

}  // namespace trimtab::daemon
