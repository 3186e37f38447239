// What the parts of a trainer share: its settings and items, the lanes' buffers, the reference
// model's words. Internal to trainer.cpp, micro_batch.cpp, document_packs.cpp and
// trainer_checkpoint.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "retrain/model/backward.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lora.h"
#include "retrain/model/optimizer.h"
#include "retrain/model/trainer.h"

namespace trimtab::model {

struct LaneState {
  at::Tensor gradients;
  StepReport report;  // sums
  std::int64_t kl_positions = 0;
};

// The reference model's words about one item.
struct Reference {
  double logp = 0;           // of the completion
  double rejected_logp = 0;  // pairs
  at::Tensor hidden;         // [supervised, hidden], for KL
};

struct Trainer::State {
  std::shared_ptr<const Decoder> decoder;
  std::shared_ptr<Adapter> adapter;
  const std::vector<Item>* items = nullptr;
  TrainerSettings settings;
  std::vector<Reference> references;
  std::vector<LaneState> lanes;
  AdamW optimizer;
  at::Tensor best;
};

// What a step's sums are divided by: weight of the supervised tokens (SFT), of pairs or examples;
// and ORPO's NLL by the chosen answers' tokens.
struct Denominators {
  double main = 0;
  double tokens = 0;
};

// What the head is asked about one document; where[t] is its token t's row in the batch.
void add_rows(const Example& example, const std::vector<std::int64_t>& where,
              std::vector<HeadRow>& rows);

[[nodiscard]] inline bool wants_kl(const TrainerSettings& s, const Item& item) {
  return s.kl_weight > 0 && item.example.replay;
}

// Of values [begin, end).
[[nodiscard]] double sum(const std::vector<double>& values, std::size_t begin, std::size_t end);

// Reference values of all items, once: they never change, and a resumed run gets the same bytes.
[[nodiscard]] Status compute_references(Trainer::State& state);

}  // namespace trimtab::model
