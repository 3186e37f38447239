#include "retrain/model/train_corpus.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/hash.h"
#include "base/log.h"
#include "retrain/model/augment.h"
#include "retrain/model/line_reader.h"

namespace trimtab::model {
namespace {

using retrain::JobSpec;

struct Source {
  const char* key;
  const std::string* path;
  DataKind kind;
};

std::array<Source, 6> sources(const JobSpec& job) {
  const auto& d = job.data;
  return {{{"tokens", &d.tokens, DataKind::kTokens},
           {"text", &d.text, DataKind::kText},
           {"prompts", &d.prompts, DataKind::kPrompts},
           {"pairs", &d.pairs, DataKind::kPairs},
           {"thumbs", &d.thumbs, DataKind::kThumbs},
           {"chat", &d.chat, DataKind::kChat}}};
}

Status note_file(Corpus& corpus, const char* key, const std::string& path, std::size_t lines) {
  if (path.empty()) return {};
  TRIMTAB_TRY(const std::string hex, sha256_file_hex(path));
  corpus.files[key] = {{"lines", lines}, {"sha256", hex}};
  corpus.digest += hex + "\n";
  return {};
}

Status read_judges(const char* key, const std::string& path, LineReader& reader, Corpus& corpus,
                   std::vector<Item>& items) {
  if (path.empty()) return {};
  TRIMTAB_TRY(const std::size_t lines,
              for_each_data_line(path, DataKind::kAny, [&](const DataLine& line) {
                return reader.add(line, DataKind::kAny, items);
              }));
  return note_file(corpus, key, path, lines);
}

// The file's lines and, where asked for, copies of them (augment.h).
Status read_source(const Source& source, const JobSpec& job, const std::filesystem::path& folder,
                   LineReader& reader, Corpus& corpus) {
  if (source.path->empty()) return {};
  const bool more = job.filters.typos + job.filters.paraphrases > 0;
  std::vector<DataLine> kept;
  TRIMTAB_TRY(const std::size_t lines,
              for_each_data_line(*source.path, source.kind, [&](const DataLine& line) {
                if (more) kept.push_back(line);
                return reader.add(line, source.kind, corpus.items);
              }));
  TRIMTAB_CHECK_OK(note_file(corpus, source.key, *source.path, lines));
  if (!more) return {};
  TRIMTAB_TRY(auto added, augment(kept, job.filters, static_cast<std::uint64_t>(job.seed), folder));
  for (const DataLine& line : added.lines) {
    corpus.digest += sha256_hex(line.json.dump()) + "\n";
    TRIMTAB_CHECK_OK(reader.add(line, source.kind, corpus.items));
  }
  corpus.added = std::move(added.added);
  corpus.left_out = std::move(added.left_out);
  return {};
}

// Fewer replay items, so that they are `share` of all; which ones go is a stable choice.
void fit_replay(Corpus& corpus, double share, std::uint64_t seed) {
  std::vector<std::pair<std::uint64_t, std::size_t>> replay;
  for (std::size_t i = 0; i < corpus.items.size(); ++i) {
    const Example& e = corpus.items[i].example;
    if (e.replay) replay.emplace_back(stable_hash(e.id + "#" + std::to_string(i), seed), i);
  }
  const auto fresh = static_cast<double>(corpus.items.size() - replay.size());
  const auto wanted = static_cast<std::size_t>(std::llround(fresh * share / (1.0 - share)));
  if (replay.size() <= wanted) return;
  std::sort(replay.begin(), replay.end());
  std::vector<bool> drop(corpus.items.size(), false);
  for (std::size_t i = wanted; i < replay.size(); ++i) drop[replay[i].second] = true;
  corpus.left_out["replay_share"] = static_cast<std::int64_t>(replay.size() - wanted);
  std::size_t at = 0;
  std::erase_if(corpus.items, [&](const Item&) { return drop[at++]; });
}

}  // namespace

Result<Corpus> read_corpus(const JobSpec& job, const ModelConfig& config,
                           const std::filesystem::path& folder) {
  Corpus corpus;
  LineReader reader(job.base, config, job.max_length, job.loss.supervise == "whole");
  for (const Source& source : sources(job))
    TRIMTAB_CHECK_OK(read_source(source, job, folder, reader, corpus));
  if (job.data.replay_share >= 0)
    fit_replay(corpus, job.data.replay_share, static_cast<std::uint64_t>(job.seed));
  TRIMTAB_CHECK_OK(read_judges("eval", job.data.eval, reader, corpus, corpus.eval));
  TRIMTAB_CHECK_OK(read_judges("keep", job.data.keep, reader, corpus, corpus.keep));
  TRIMTAB_CHECK_OK(note_file(corpus, "plan", job.plan, 0));
  if (reader.too_long() > 0) {
    corpus.left_out["too_long"] = reader.too_long();
    log::warn("train: {} lines longer than {} tokens left out", reader.too_long(),
              std::min(job.max_length, config.max_positions));
  }
  corpus.digest = sha256_hex(corpus.digest);
  return corpus;
}

void drop_outliers(Corpus& corpus, const std::vector<double>& losses, double z) {
  std::vector<double> fresh;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (!corpus.items[i].example.replay && std::isfinite(losses[i])) fresh.push_back(losses[i]);
  }
  if (fresh.size() < 8) return;  // too few to say what is usual
  const auto median_of = [](std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  const double median = median_of(fresh);
  for (double& value : fresh) value = std::abs(value - median);
  const double spread = 1.4826 * median_of(fresh);
  if (!(spread > 0)) return;
  std::size_t at = 0;
  const std::size_t before = corpus.items.size();
  std::erase_if(corpus.items, [&](const Item& item) {
    const double loss = losses[at++];
    return !item.example.replay && std::isfinite(loss) && (loss - median) / spread > z;
  });
  if (before > corpus.items.size())
    corpus.left_out["outlier"] = static_cast<std::int64_t>(before - corpus.items.size());
}

std::string manifest_json(const Corpus& corpus, const JobSpec& job) {
  std::int64_t replay = 0, tokens = 0, supervised_tokens = 0;
  std::map<std::string, std::int64_t> tasks;
  for (const Item& item : corpus.items) {
    replay += item.example.replay ? 1 : 0;
    tokens += item.tokens();
    supervised_tokens += supervised(item.example) + supervised(item.rejected);
    ++tasks[item.task];
  }
  const OrderedJson json = {{"schema", 1},
                            {"seed", job.seed},
                            {"digest", corpus.digest},
                            {"items", corpus.items.size()},
                            {"replay", replay},
                            {"eval", corpus.eval.size()},
                            {"keep", corpus.keep.size()},
                            {"tokens", tokens},
                            {"supervised_tokens", supervised_tokens},
                            {"tasks", tasks},
                            {"left_out", corpus.left_out},
                            {"added", corpus.added},
                            {"files", corpus.files}};
  return dump_json(json, 2) + "\n";
}

}  // namespace trimtab::model
