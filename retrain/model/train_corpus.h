// All that a job trains on and is judged by, read once: files, augmentation, replay share,
// outliers, and the account of it all. No torch.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "retrain/job.h"
#include "retrain/model/train_data.h"

namespace trimtab::model {

struct Corpus {
  std::vector<Item> items;
  std::vector<Item> eval;
  std::vector<Item> keep;
  std::map<std::string, std::int64_t> left_out;  // reason -> lines
  std::map<std::string, std::int64_t> added;
  OrderedJson files = OrderedJson::object();  // key of the job -> lines, sha256
  std::string digest;                         // of every file and every added line
};

// `folder`: the job's, for paraphrases.jsonl. The same files and job give the same corpus.
[[nodiscard]] Result<Corpus> read_corpus(const retrain::JobSpec& job, const ModelConfig& config,
                                         const std::filesystem::path& folder);

// Leaves out new items whose loss has a robust z (median, 1.4826 MAD) above `z`. `losses`: one an
// item, NaN where nothing is supervised.
void drop_outliers(Corpus& corpus, const std::vector<double>& losses, double z);

// data_manifest.json: counts, reasons, digests.
[[nodiscard]] std::string manifest_json(const Corpus& corpus, const retrain::JobSpec& job);

}  // namespace trimtab::model
