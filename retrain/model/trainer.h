// The numerics of adapter training: one step over micro-batches, evaluation, checkpoints.
//
// Loss of a step = sum over the whole accumulated batch / its supervised tokens (SFT), or mean over
// its pairs (DPO, Rafailov et al. 2023) or its examples (apo_zero_unpaired, D'Oosterlinck et al.
// 2024), each by its weight; ORPO (Hong et al. 2024): NLL of the chosen answers a token, and the
// log odds ratio a pair. KL(reference || model) on replayed documents is added with the same
// denominator as SFT. Micro-batch i runs on lane i % lanes; gradients are added in lane order: the
// same bytes for the same lanes. No torch in this header. Owned by one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/train_data.h"

namespace trimtab::model {

class Decoder;
class OrthogonalPenalty;
class Peers;
struct Adapter;

enum class LossKind { kSft, kDpo, kApoZeroUnpaired, kOrpo };

struct TrainerSettings {
  LossKind loss = LossKind::kSft;
  double beta = 0.1;
  double desirable_weight = 1.0;
  double undesirable_weight = 1.0;
  double kl_weight = 0;
  bool kl_to_base = false;  // else to the initial adapter
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double b_lr_ratio = 1;   // LoRA+ (Hayou et al. 2024): B's and magnitudes' rate over A's
  double clip_norm = 1.0;  // 0: off
  double dropout = 0;
  std::int64_t seed = 1;
  int lanes = 1;
  bool checkpoint_activations = false;  // recompute blocks in the backward: less memory, 6N not 4N
  // Whose answers DPO, thumbs and kl_to_base refer to, adapter off; null: the decoder itself (PiSSA
  // trains on a changed base, but refers to the whole one).
  std::shared_ptr<const Decoder> reference;
  std::shared_ptr<const OrthogonalPenalty> orthogonal;  // null: none
  std::vector<std::int64_t> layers;  // whose adapters learn; empty: all (the others stay)
  bool pcgrad = false;               // gradient surgery across Item::task
  Peers* peers = nullptr;            // data parallel; outlives the trainer; null: one process
};

struct StepReport {
  double loss = 0;
  double kl = 0;          // mean over the KL positions, not weighted
  double orthogonal = 0;  // O-LoRA's penalty, weighted; part of the loss
  double grad_norm = 0;   // before clipping
  std::int64_t tokens = 0;
  std::int64_t supervised_tokens = 0;
};

class Trainer {
 public:
  // `items` must outlive the trainer. Computes reference log-probabilities (DPO, thumbs) and
  // reference hidden states (KL) of all items once, in a fixed order.
  [[nodiscard]] static Result<Trainer> create(std::shared_ptr<const Decoder> decoder,
                                              std::shared_ptr<Adapter> adapter,
                                              const std::vector<Item>& items,
                                              const TrainerSettings& settings);
  Trainer(Trainer&&) noexcept;
  ~Trainer();

  // One optimiser step. With peers, micro-batch i is rank i % size's, and the gradient is summed
  // over all (kUnavailable "lost_peer: ..). kInternal "nan_loss: .." when loss or gradient is not
  // finite: the parameters are then as before the step.
  [[nodiscard]] Result<StepReport> step(const std::vector<std::vector<std::size_t>>& micro_batches,
                                        double lr);
  // Mean negative log-likelihood over the supervised tokens of `items`, adapter on.
  [[nodiscard]] Result<double> evaluate(const std::vector<Item>& items) const;

  [[nodiscard]] std::int64_t steps_done() const;
  // The gradients of the last step, before clipping, under the adapter's tensor names.
  [[nodiscard]] Status save_gradients(const std::filesystem::path& path) const;
  // Remembers the present parameters as the best so far / puts the best back.
  void keep_best();
  void restore_best();

  // Flat parameters, moments, best, step, and `state` (the caller's own words), one file, atomic.
  [[nodiscard]] Status save(const std::filesystem::path& path,
                            const std::map<std::string, std::string>& state) const;
  // Answers the caller's words. kCorrupt: truncated, another size, wrong digest.
  [[nodiscard]] Result<std::map<std::string, std::string>> restore(
      const std::filesystem::path& path);

  [[nodiscard]] const Adapter& adapter() const;

  struct State;  // trainer.cpp

 private:
  explicit Trainer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Mean negative log-likelihood of each item's supervised tokens (pairs: of the chosen answer) under
// `adapter` (null: the bare base); NaN where nothing is supervised.
[[nodiscard]] Result<std::vector<double>> item_losses(const Decoder& decoder,
                                                      const Adapter* adapter,
                                                      const std::vector<Item>& items, int lanes);

// transformers' schedules: factor of step `step` (from 0) of `total`. name: cosine, linear,
// constant.
[[nodiscard]] double schedule_factor(const std::string& name, std::int64_t step,
                                     std::int64_t warmup, std::int64_t total);

}  // namespace trimtab::model
