// Scores known-good completions under several adapters side by side, in one batch over one base:
// the shadow's evidence (champion against candidate).
//
// For each item and side: the greedy answer, whether it equals the known-good text, and the mean
// log-probability of that text's tokens. The text is given to the model at once and its greedy
// choices are compared along the way: where all agree and the answer ends there, nothing is
// generated; else generation goes on from the first disagreement (the known-good text serves as the
// draft of speculative decoding; Leviathan et al. 2023, with greedy choice exact).
//
// What the texts of a batch begin with alike is computed once a side (model/shared_prefix.h).
// Called by one thread; deterministic for given inputs and batch size, whatever the lanes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/chat_template.h"
#include "retrain/model/decoder.h"
#include "retrain/model/tokenizer.h"

namespace trimtab::serve {

struct ScoreItem {
  std::string id;
  model::TokenIds prompt;  // not empty
  model::TokenIds target;  // the known-good completion, without an end token; not empty
  std::string text;        // its text
};

struct SideScore {
  std::string greedy;         // empty where only the likelihood was asked for
  bool match = false;         // greedy == text, white space around them aside
  double mean_logprob = 0.0;  // over target's tokens
  std::int64_t tokens = 0;    // of target
};

struct ScoreSettings {
  std::int64_t max_new_tokens = 32;  // of a greedy answer that leaves the known-good text
  std::size_t batch = 16;            // items side by side; each counts once a side
  bool likelihood_only = false;      // no greedy answers
  int lanes = 1;                     // batches at the same time, a thread each
};

class PairScorer {
 public:
  // `sides`: null is the bare base. They must outlive the scorer.
  PairScorer(std::shared_ptr<const model::Decoder> decoder, model::Tokenizer tokenizer,
             std::vector<model::TokenId> stop_ids, std::vector<const model::Adapter*> sides,
             ScoreSettings settings);

  // For each item one SideScore a side, in order. kInvalid: an item longer than the context, or ids
  // outside the vocabulary (with its id).
  [[nodiscard]] Result<std::vector<std::vector<SideScore>>> score(
      std::span<const ScoreItem> items) const;

 private:
  struct Row;
  [[nodiscard]] Status score_batch(std::span<const ScoreItem> items,
                                   std::span<std::vector<SideScore>> out) const;
  [[nodiscard]] Status read_targets(std::vector<Row>& rows) const;
  [[nodiscard]] Status judge_targets(std::vector<Row>& rows, const at::Tensor& hidden,
                                     const std::vector<std::vector<std::int64_t>>& where) const;
  [[nodiscard]] Status fill_caches(std::vector<Row>& rows) const;
  [[nodiscard]] Status generate(std::vector<Row>& rows) const;
  void judge_target(Row& row, const float* logits, std::int64_t vocabulary) const;
  [[nodiscard]] bool is_stop(model::TokenId id) const;

  std::shared_ptr<const model::Decoder> decoder_;
  model::Tokenizer tokenizer_;
  std::vector<model::TokenId> stop_ids_;
  std::vector<const model::Adapter*> sides_;
  ScoreSettings settings_;
};

// Log-probability of each label as the continuation of one prompt: the prompt, and what labels
// begin with alike, is computed once and shared. Labels are not empty.
[[nodiscard]] Result<std::vector<double>> label_logprobs(const model::Decoder& decoder,
                                                         const model::Adapter* adapter,
                                                         const model::TokenIds& prompt,
                                                         std::span<const model::TokenIds> labels);

}  // namespace trimtab::serve
