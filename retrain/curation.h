// Curation: stored examples -> the data files of a job, with a manifest that accounts for every
// one.
//
// Steps, in this order; each example leaves at the first that names it:
//   malformed       no prompt beside the system's, no completion, or longer than max_text_bytes
//   too_old         older than max_age
//   evaluation_unit its unit is kept for evaluation (stable hash, eval_share): never trained on
//   quarantined     lies in a burst (quarantine.h)
//   disabled        good answers, with data.good_answers off
//   language        told, and not one of data.languages
//   broken_text, word_length, few_words, repetition   text_quality.h, with data.quality_filter
//   superseded      a newer label for the same record
//   duplicate       same normalized prompt and completion as one already kept (newest is kept)
//   conflict        same normalized prompt, other completion: the correction, then the newest wins
//   contaminated    equal to, or shares decontaminate_ngram words in a row with, a protected text;
//                   word runs that many protected texts share are boilerplate and do not count
//   near_duplicate  Jaccard of 5-character shingles >= data.near_duplicate and the same completion
//   cap_class, cap_tenant, cap_source, cap_total   above the cap; newest first are kept
// What remains is split by a stable hash of the unit into training and validation; replayed lines
// come from the reservoir (replay.h) and pass evaluation_unit, contaminated and duplicate, too.
// Names of data.redact_names are blacked out in what is written. Deterministic: the same inputs and
// seed give the same bytes, whatever the order of `examples`. Single thread, no state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/retrain_settings.h"
#include "retrain/example.h"
#include "retrain/quarantine.h"
#include "retrain/replay.h"

namespace trimtab::retrain {

// What near duplicates and contamination are judged by: all messages but the system's, for a system
// prompt that everybody shares would make everything alike.
[[nodiscard]] std::string compared_text(const std::vector<Message>& messages);

struct CurationInputs {
  std::vector<Example> examples;
  std::vector<ReplayItem> replay;  // reservoir's content, ReplayReservoir::items()
  // compared_text() of what must stay unseen: the frozen hold-out, the golden set.
  std::vector<std::string> protected_texts;
  std::vector<Burst> bursts;  // find_bursts(), less those that were released
  std::int64_t now_ms = 0;
  std::uint64_t seed = 1;  // order of the lines, choice of the replayed
};

enum class LineKind { kCorrection, kGood, kReplay };

struct TrainingLine {
  std::string id;                 // the record's
  std::vector<Message> messages;  // the last one is the target
  double weight = 1.0;
  LineKind kind = LineKind::kCorrection;
  std::string task;  // the tenant, for gradient surgery; empty: none
};

struct Curated {
  std::vector<TrainingLine> train;
  std::vector<TrainingLine> eval;               // validation, for early stopping
  std::map<std::string, std::int64_t> dropped;  // reason -> examples, reasons as above
  std::int64_t considered = 0;
  std::int64_t replayed = 0;
  std::map<std::string, std::int64_t> per_class, per_tenant, per_source;  // of train, replay apart
};

// kInvalid "no_data: ..." when nothing remains to train on, with the counts in the message.
[[nodiscard]] Result<Curated> curate(const CurationInputs& inputs,
                                     const config::DataSettings& settings);

// How many new examples (no replay) would be left: PolicyInputs::examples. Does the same work as
// curate(), so call it when something changed, not every tick.
[[nodiscard]] std::int64_t count_trainable(const CurationInputs& inputs,
                                           const config::DataSettings& settings);

struct DataFiles {
  std::filesystem::path train, eval, manifest;
  std::filesystem::path keep;  // eval's replayed lines alone: what is forgotten shows there
  std::string manifest_sha256;
  std::int64_t examples = 0;  // lines of train
  std::int64_t eval_examples = 0;
};

// <folder>/data/{train,eval,keep}.jsonl and <folder>/manifest.json (counts, reasons, settings,
// sha256 of all files); durable when it returns. An empty set writes no file and an empty path.
[[nodiscard]] Result<DataFiles> write_job_data(const std::filesystem::path& folder,
                                               const Curated& curated,
                                               const config::DataSettings& settings,
                                               std::uint64_t seed);

}  // namespace trimtab::retrain
