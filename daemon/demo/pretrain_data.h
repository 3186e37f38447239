// Writes the files that `trimtab-worker pretrain` makes the demo's base from: text of all domains
// without labels, and labelled examples of the known domains only; or those that
// `trimtab-worker train` makes the first adapter from, when the base is one's own.
//
// The generator is drawn from. Sentences of files are taken once each: drawing 150 of 100 leaves
// every fifth one out. `variants` shorter copies of each labelled one go with it: whole words left
// out at random, so that no single word of a hundred sentences decides an intent.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/demo/corpus.h"

namespace trimtab::demo {

struct PretrainOptions {
  std::vector<std::string> known;  // domains whose intents the base is taught
  int texts_per_domain = 4'000;    // unlabelled sentences
  int labelled_per_intent = 150;
  int variants = 2;          // of a listed labelled sentence
  double left_out = 0.15;    // share of a variant's words; below 4 words none
  int eval_per_intent = 20;  // held-out sentences, for the accuracy it prints
  int epochs = 8;
  std::uint64_t seed = 1;
};

// chat.jsonl and eval.jsonl of the known domains and first.yaml, the job that teaches them to an
// adapter of one's own `base`; the adapter goes to `out`/adapter.
[[nodiscard]] Status write_first_job(const Corpus& corpus, const PretrainOptions& options,
                                     const std::filesystem::path& out,
                                     const std::filesystem::path& base);

// text.txt, chat.jsonl, eval.jsonl and pretrain.yaml in `out`; the base goes to `base_out`.
[[nodiscard]] Status write_pretrain_data(const Corpus& corpus, const PretrainOptions& options,
                                         const std::filesystem::path& out,
                                         const std::filesystem::path& base_out);

}  // namespace trimtab::demo
