// Over 400 lines because a step, its losses and its optimiser share one set of buffers.
#include "retrain/model/trainer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <set>
#include <span>

#include "base/hash.h"
#include "retrain/model/any_device.h"
#include "retrain/model/backward.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lanes.h"
#include "retrain/model/many_tasks.h"
#include "retrain/model/optimizer.h"
#include "retrain/model/peers.h"
#include "retrain/model/safetensors.h"
#include "retrain/model/shared_prefix.h"
#include "retrain/model/tensor_io.h"
#include "retrain/model/tensor_ops.h"

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

namespace {

// What the head is asked about one document; where[t] is its token t's row in the batch.
void add_rows(const Example& example, const std::vector<std::int64_t>& where,
              std::vector<HeadRow>& rows) {
  for (std::size_t i = 1; i < example.ids.size(); ++i) {
    if (example.labels[i] >= 0) rows.push_back({where[i - 1], example.labels[i]});
  }
}

bool wants_kl(const TrainerSettings& s, const Item& item) {
  return s.kl_weight > 0 && item.example.replay;
}

double sigmoid(double x) {
  return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}
double minus_log_sigmoid(double x) {
  return x >= 0 ? std::log1p(std::exp(-x)) : -x + std::log1p(std::exp(x));
}

double sum(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  double total = 0;
  for (std::size_t i = begin; i < end; ++i) total += values[i];
  return total;
}

// Documents that share a forward: about this many tokens.
constexpr std::int64_t kReferenceTokens = 2048;

}  // namespace

// What a step's sums are divided by: weight of the supervised tokens (SFT), of pairs or examples;
// and ORPO's NLL by the chosen answers' tokens.
struct Denominators {
  double main = 0;
  double tokens = 0;
};

// One micro-batch on one lane.
class MicroBatch {
 public:
  MicroBatch(const Trainer::State& state, const std::vector<std::size_t>& indices,
             std::uint64_t key, LaneState& lane)
      : state_(state), indices_(indices), lane_(lane) {
    tape_.dropout = state.settings.dropout;
    tape_.dropout_key = key;
    tape_.checkpoint = state.settings.checkpoint_activations;
    std::vector<const Example*> documents;
    for (const std::size_t index : indices) {
      const Item& item = (*state.items)[index];
      if (!item.example.ids.empty()) documents.push_back(&item.example);
      if (!item.rejected.ids.empty()) documents.push_back(&item.rejected);
    }
    lay_out(documents);
  }

  // `d`: of the whole step.
  Status run(const Denominators& d) {
    if (batch_.ids.empty() || rows_.empty()) {
      lane_.report.tokens += tokens_;
      return {};
    }
    TRIMTAB_TRY(const at::Tensor hidden, state_.decoder->forward(batch_, &tape_));
    at::Tensor d_hidden = at::zeros_like(hidden);
    Gradients gradients{lane_.gradients, nullptr};
    switch (state_.settings.loss) {
      case LossKind::kSft: sft(hidden, d.main, d_hidden, gradients); break;
      case LossKind::kDpo: dpo(hidden, d.main, d_hidden, gradients); break;
      case LossKind::kApoZeroUnpaired: apo(hidden, d.main, d_hidden, gradients); break;
      case LossKind::kOrpo: orpo(hidden, d, d_hidden, gradients); break;
    }
    backward(*state_.decoder, batch_, state_.adapter.get(), tape_, d_hidden, gradients);
    lane_.report.tokens += tokens_;
    lane_.report.supervised_tokens += static_cast<std::int64_t>(rows_.size());
    return {};
  }

 private:
  struct Part {
    std::size_t index;   // item
    std::size_t begin;   // rows of the chosen / only document
    std::size_t middle;  // rows of the rejected one begin here
    std::size_t end;
  };

  // Dropout draws a mask a row: documents then keep rows of their own.
  void lay_out(const std::vector<const Example*>& documents) {
    std::vector<std::span<const std::int64_t>> ids;
    for (const Example* document : documents) ids.emplace_back(document->ids);
    const bool share = state_.settings.dropout == 0 && can_share(state_.decoder->config());
    SharedBatch shared = share_prefixes(ids, state_.adapter.get(), share);
    batch_ = std::move(shared.batch);
    std::size_t next = 0;
    const auto document = [&](const Example& example) {
      if (example.ids.empty()) return;
      tokens_ += static_cast<std::int64_t>(example.ids.size());
      add_rows(example, shared.rows[next++], rows_);
    };
    for (const std::size_t index : indices_) {
      const Item& item = (*state_.items)[index];
      Part part{index, rows_.size(), 0, 0};
      document(item.example);
      part.middle = rows_.size();
      document(item.rejected);
      part.end = rows_.size();
      parts_.push_back(part);
    }
  }

  void sft(const at::Tensor& hidden, double denominator, at::Tensor& d_hidden,
           Gradients& gradients) {
    std::vector<double> weights;
    for (const Part& part : parts_) {
      weights.resize(part.end, (*state_.items)[part.index].example.weight / denominator);
    }
    const auto losses = cross_entropy(*state_.decoder, hidden, rows_, weights, d_hidden, gradients);
    for (std::size_t i = 0; i < losses.size(); ++i) lane_.report.loss += losses[i] * weights[i];
    kl(hidden, denominator, d_hidden, gradients);
  }

  void kl(const at::Tensor& hidden, double denominator, at::Tensor& d_hidden,
          Gradients& gradients) {
    std::vector<HeadRow> rows;
    std::vector<at::Tensor> references;
    for (const Part& part : parts_) {
      if (!wants_kl(state_.settings, (*state_.items)[part.index])) continue;
      rows.insert(rows.end(), rows_.begin() + static_cast<std::ptrdiff_t>(part.begin),
                  rows_.begin() + static_cast<std::ptrdiff_t>(part.end));
      references.push_back(state_.references[part.index].hidden);
    }
    if (rows.empty()) return;
    const std::vector<double> weights(rows.size(), state_.settings.kl_weight / denominator);
    const auto values = kl_divergence(*state_.decoder, hidden, rows, at::cat(references, 0),
                                      weights, d_hidden, gradients);
    const double total = sum(values, 0, values.size());
    lane_.report.kl += total;
    lane_.report.loss += total * weights.front();
    lane_.kl_positions += static_cast<std::int64_t>(rows.size());
  }

  void dpo(const at::Tensor& hidden, double pairs, at::Tensor& d_hidden, Gradients& gradients) {
    const auto logps = label_logprobs(*state_.decoder, hidden, rows_);
    std::vector<double> weights(rows_.size());
    const double beta = state_.settings.beta;
    for (const Part& part : parts_) {
      const Reference& reference = state_.references[part.index];
      const double margin = beta * ((sum(logps, part.begin, part.middle) - reference.logp) -
                                    (sum(logps, part.middle, part.end) - reference.rejected_logp));
      const double share = (*state_.items)[part.index].example.weight / pairs;
      lane_.report.loss += share * minus_log_sigmoid(margin);
      const double slope = share * beta * sigmoid(-margin);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(part.begin),
                weights.begin() + static_cast<std::ptrdiff_t>(part.middle), slope);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(part.middle),
                weights.begin() + static_cast<std::ptrdiff_t>(part.end), -slope);
    }
    (void)cross_entropy(*state_.decoder, hidden, rows_, weights, d_hidden, gradients);
  }

  void apo(const at::Tensor& hidden, double examples, at::Tensor& d_hidden, Gradients& gradients) {
    const auto logps = label_logprobs(*state_.decoder, hidden, rows_);
    std::vector<double> weights(rows_.size());
    const auto& s = state_.settings;
    for (const Part& part : parts_) {
      const Item& item = (*state_.items)[part.index];
      const bool good = item.good;
      const double p =
          sigmoid(s.beta * (sum(logps, part.begin, part.end) - state_.references[part.index].logp));
      const double scale =
          (good ? s.desirable_weight : s.undesirable_weight) * item.example.weight / examples;
      lane_.report.loss += scale * (good ? 1.0 - p : p);
      const double slope = (good ? 1.0 : -1.0) * scale * s.beta * p * (1.0 - p);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(part.begin),
                weights.begin() + static_cast<std::ptrdiff_t>(part.end), slope);
    }
    (void)cross_entropy(*state_.decoder, hidden, rows_, weights, d_hidden, gradients);
  }

  // z = log odds(chosen) - log odds(rejected), odds of the mean log-probability a token.
  void orpo(const at::Tensor& hidden, const Denominators& d, at::Tensor& d_hidden,
            Gradients& gradients) {
    const auto logps = label_logprobs(*state_.decoder, hidden, rows_);
    std::vector<double> weights(rows_.size());
    for (const Part& part : parts_) {
      const double weight = (*state_.items)[part.index].example.weight;
      const double share = state_.settings.beta * weight / d.main;
      const auto chosen_tokens = static_cast<double>(part.middle - part.begin);
      const auto rejected_tokens = static_cast<double>(part.end - part.middle);
      const double chosen = sum(logps, part.begin, part.middle) / chosen_tokens;
      const double rejected = sum(logps, part.middle, part.end) / rejected_tokens;
      constexpr double kLeast = 1e-12;  // 1 - p of a certain answer
      const double chosen_rest = std::max(kLeast, -std::expm1(chosen));
      const double rejected_rest = std::max(kLeast, -std::expm1(rejected));
      const double z = (chosen - rejected) - (std::log(chosen_rest) - std::log(rejected_rest));
      lane_.report.loss +=
          share * minus_log_sigmoid(z) - weight * chosen * chosen_tokens / d.tokens;
      const double slope = share * sigmoid(-z);
      const double up = slope / chosen_rest / chosen_tokens + weight / d.tokens;
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(part.begin),
                weights.begin() + static_cast<std::ptrdiff_t>(part.middle), up);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(part.middle),
                weights.begin() + static_cast<std::ptrdiff_t>(part.end),
                -slope / rejected_rest / rejected_tokens);
    }
    (void)cross_entropy(*state_.decoder, hidden, rows_, weights, d_hidden, gradients);
  }

  const Trainer::State& state_;
  const std::vector<std::size_t>& indices_;
  LaneState& lane_;
  Tape tape_;
  Batch batch_;
  std::int64_t tokens_ = 0;  // of the documents; batch_ may hold fewer
  std::vector<HeadRow> rows_;
  std::vector<Part> parts_;
};

namespace {

// Runs `f(batch, rows, [begin, end) of documents)` over documents packed in order, spread over
// lanes.
struct Packed {
  Batch batch;
  std::vector<HeadRow> rows;
  std::vector<std::size_t> documents;
  std::vector<std::size_t> row_ends;  // per document
};

void lay_out(const std::vector<const Example*>& documents, const Adapter* adapter, bool share,
             Packed& p) {
  std::vector<std::span<const std::int64_t>> ids;
  for (const std::size_t d : p.documents) ids.emplace_back(documents[d]->ids);
  SharedBatch shared = share_prefixes(ids, adapter, share);
  p.batch = std::move(shared.batch);
  for (std::size_t i = 0; i < p.documents.size(); ++i) {
    add_rows(*documents[p.documents[i]], shared.rows[i], p.rows);
    p.row_ends.push_back(p.rows.size());
  }
}

std::vector<Packed> pack(const std::vector<const Example*>& documents, const Adapter* adapter,
                         bool share) {
  std::vector<Packed> packs;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto length = static_cast<std::int64_t>(documents[i]->ids.size());
    if (packs.empty() || tokens + length > kReferenceTokens) packs.emplace_back(), tokens = 0;
    packs.back().documents.push_back(i);
    tokens += length;
  }
  for (Packed& p : packs) lay_out(documents, adapter, share, p);
  return packs;
}

// f(pack, hidden) on the lanes; packs are independent, so any order of execution gives the same.
template <typename F>
Status over_packs(const Decoder& decoder, std::vector<Packed>& packs, int lanes, F&& f) {
  std::vector<Status> failures(static_cast<std::size_t>(lanes));
  run_lanes(lanes, [&](int lane) {
    const ComputeScope scope;
    for (std::size_t i = static_cast<std::size_t>(lane); i < packs.size();
         i += static_cast<std::size_t>(lanes)) {
      const auto hidden = decoder.forward(packs[i].batch);
      if (!hidden) {
        failures[static_cast<std::size_t>(lane)] = tl::unexpected<Error>(hidden.error());
        return;
      }
      f(packs[i], *hidden);
    }
  });
  for (const Status& failure : failures) TRIMTAB_CHECK_OK(failure);
  return {};
}

at::Tensor rows_of(const at::Tensor& hidden, const std::vector<HeadRow>& rows, std::size_t begin,
                   std::size_t end) {
  const at::Tensor index = at::empty({static_cast<std::int64_t>(end - begin)}, at::kLong);
  for (std::size_t i = begin; i < end; ++i) index.data_ptr<std::int64_t>()[i - begin] = rows[i].row;
  return hidden.index_select(0, beside(index, hidden));
}

}  // namespace

// Reference values of all items, once: they never change, and a resumed run gets the same bytes.
Status compute_references(Trainer::State& state) {
  const bool preference =
      state.settings.loss == LossKind::kDpo || state.settings.loss == LossKind::kApoZeroUnpaired;
  if (state.settings.loss == LossKind::kOrpo) return {};  // needs none
  const auto& items = *state.items;
  state.references.resize(items.size());
  std::vector<const Example*> documents;
  std::vector<std::pair<std::size_t, bool>> owner;  // item, rejected?
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!preference && !wants_kl(state.settings, items[i])) continue;
    documents.push_back(&items[i].example);
    owner.emplace_back(i, false);
    if (items[i].rejected.ids.empty()) continue;
    documents.push_back(&items[i].rejected);
    owner.emplace_back(i, true);
  }
  const Adapter* adapter =
      !preference && !state.settings.kl_to_base ? state.adapter.get() : nullptr;
  const Decoder& decoder = adapter == nullptr && state.settings.reference != nullptr
                               ? *state.settings.reference
                               : *state.decoder;
  auto packs = pack(documents, adapter, can_share(decoder.config()));
  return over_packs(decoder, packs, state.settings.lanes,
                    [&](const Packed& p, const at::Tensor& hidden) {
                      std::vector<double> logps;
                      if (preference) logps = label_logprobs(decoder, hidden, p.rows);
                      std::size_t begin = 0;
                      for (std::size_t d = 0; d < p.documents.size(); ++d) {
                        const auto [item, rejected] = owner[p.documents[d]];
                        Reference& reference = state.references[item];
                        if (!preference)
                          reference.hidden = rows_of(hidden, p.rows, begin, p.row_ends[d]);
                        else
                          (rejected ? reference.rejected_logp : reference.logp) =
                              sum(logps, begin, p.row_ends[d]);
                        begin = p.row_ends[d];
                      }
                    });
}

Trainer::Trainer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer::~Trainer() = default;

Result<Trainer> Trainer::create(std::shared_ptr<const Decoder> decoder,
                                std::shared_ptr<Adapter> adapter, const std::vector<Item>& items,
                                const TrainerSettings& settings) {
  const ComputeScope scope;
  auto state = std::make_unique<State>();
  state->decoder = std::move(decoder);
  state->adapter = std::move(adapter);
  state->items = &items;
  state->settings = settings;
  if (!state->decoder->weights().final_norm.device().is_cpu()) state->settings.lanes = 1;
  at::Tensor& parameters = state->adapter->parameters;
  parameters = beside(parameters, state->decoder->weights().final_norm);
  for (int lane = 0; lane < state->settings.lanes; ++lane)
    state->lanes.push_back({at::zeros_like(parameters), {}, 0});
  state->optimizer = AdamW(parameters.numel(),
                           {settings.beta1, settings.beta2, settings.eps, settings.weight_decay},
                           parameters.scalar_type());
  TRIMTAB_CHECK_OK(compute_references(*state));
  return Trainer(std::move(state));
}

namespace {

// A micro-batch in runs of items that fit a forward and its tape: memory is bounded by a pass (of
// all lanes together) or by the longest document, not by the batch.
constexpr std::int64_t kPassTokens = 1024;
constexpr std::int64_t kLeastPassTokens = 512;
constexpr std::int64_t kDevicePassTokens = 16384;  // an accelerator wants large products

std::vector<std::vector<std::size_t>> passes(const Trainer::State& s,
                                             const std::vector<std::size_t>& micro_batch) {
  const std::vector<Item>& items = *s.items;
  const bool cpu = s.adapter->parameters.device().is_cpu();
  const std::int64_t most =
      cpu ? std::max(kLeastPassTokens, kPassTokens / s.settings.lanes) : kDevicePassTokens;
  std::vector<std::vector<std::size_t>> result;
  std::int64_t tokens = 0;
  for (const std::size_t index : micro_batch) {
    const std::int64_t more = items[index].tokens();
    if (result.empty() || tokens + more > most) result.emplace_back(), tokens = 0;
    result.back().push_back(index);
    tokens += more;
  }
  return result;
}

using MicroBatches = std::vector<std::vector<std::size_t>>;

Denominators denominators_of(const Trainer::State& s, const MicroBatches& micro_batches) {
  Denominators d;
  for (const auto& micro : micro_batches) {
    for (const std::size_t index : micro) {
      const Example& example = (*s.items)[index].example;
      const double tokens = static_cast<double>(supervised(example)) * example.weight;
      d.tokens += tokens;
      d.main += s.settings.loss == LossKind::kSft ? tokens : example.weight;
    }
  }
  return d;
}

// This process's share of the micro-batches on its lanes; gradients into lane 0, sums into
// `report`.
Status accumulate(Trainer::State& s, const MicroBatches& micro_batches, const Denominators& d,
                  StepReport& report, std::int64_t& kl_positions) {
  const std::size_t ranks =
      s.settings.peers == nullptr ? 1 : static_cast<std::size_t>(s.settings.peers->size());
  const std::size_t rank =
      s.settings.peers == nullptr ? 0 : static_cast<std::size_t>(s.settings.peers->rank());
  std::vector<Status> failures(s.lanes.size());
  run_lanes(s.settings.lanes, [&](int lane) {
    const ComputeScope lane_scope;
    const auto l = static_cast<std::size_t>(lane);
    s.lanes[l].gradients.zero_();
    s.lanes[l].report = {};
    s.lanes[l].kl_positions = 0;
    for (std::size_t m = rank + l * ranks; m < micro_batches.size(); m += s.lanes.size() * ranks) {
      const std::uint64_t key =
          stable_hash("dropout", static_cast<std::uint64_t>(s.settings.seed)) ^
          (static_cast<std::uint64_t>(s.optimizer.step()) * 1000003ULL + m);
      std::uint64_t pass = 0;
      for (const auto& indices : passes(s, micro_batches[m])) {
        MicroBatch micro(s, indices, key + 0x9e3779b97f4a7c15ULL * pass++, s.lanes[l]);
        if (auto status = micro.run(d); !status) failures[l] = status;
      }
    }
  });
  for (const Status& failure : failures) TRIMTAB_CHECK_OK(failure);
  for (std::size_t l = 0; l < s.lanes.size(); ++l) {
    report.loss += s.lanes[l].report.loss;
    report.kl += s.lanes[l].report.kl;
    report.tokens += s.lanes[l].report.tokens;
    report.supervised_tokens += s.lanes[l].report.supervised_tokens;
    kl_positions += s.lanes[l].kl_positions;
    if (l > 0) s.lanes[0].gradients.add_(s.lanes[l].gradients);
  }
  if (s.settings.peers != nullptr) return s.settings.peers->sum(s.lanes[0].gradients);
  return {};
}

// One gradient a task, projected against one another (many_tasks.h), into lane 0.
Status accumulate_by_task(Trainer::State& s, const MicroBatches& micro_batches,
                          const Denominators& d, StepReport& report, std::int64_t& kl_positions) {
  std::set<std::string> tasks;
  for (const auto& micro : micro_batches) {
    for (const std::size_t index : micro) tasks.insert((*s.items)[index].task);
  }
  std::vector<at::Tensor> gradients;
  for (const std::string& task : tasks) {
    MicroBatches mine;
    for (const auto& micro : micro_batches) {
      mine.emplace_back();
      for (const std::size_t index : micro) {
        if ((*s.items)[index].task == task) mine.back().push_back(index);
      }
    }
    TRIMTAB_CHECK_OK(accumulate(s, mine, d, report, kl_positions));
    gradients.push_back(s.lanes[0].gradients.clone());
  }
  const auto seed = stable_hash("pcgrad", static_cast<std::uint64_t>(s.settings.seed)) +
                    static_cast<std::uint64_t>(s.optimizer.step());
  s.lanes[0].gradients.copy_(project_conflicts(gradients, seed));
  return {};
}

// The sums of all processes.
Status sum_report(const Trainer::State& s, StepReport& report, std::int64_t& kl_positions) {
  if (s.settings.peers == nullptr) return {};
  std::vector<double> values = {report.loss, report.kl, static_cast<double>(report.tokens),
                                static_cast<double>(report.supervised_tokens),
                                static_cast<double>(kl_positions)};
  TRIMTAB_CHECK_OK(s.settings.peers->sum(values));
  report.loss = values[0];
  report.kl = values[1];
  report.tokens = static_cast<std::int64_t>(values[2]);
  report.supervised_tokens = static_cast<std::int64_t>(values[3]);
  kl_positions = static_cast<std::int64_t>(values[4]);
  return {};
}

// A stretch of the flat vector with its own learning rate; `ratio` 0: frozen.
struct Stretch {
  std::int64_t begin, end;
  double ratio;
};

// LoRA+: A's at lr, all else (B's, magnitudes) at lr times the ratio; frozen layers not at all.
std::vector<Stretch> stretches(const Trainer::State& s) {
  const auto& layers = s.settings.layers;
  if (s.settings.b_lr_ratio == 1 && layers.empty())
    return {{0, s.adapter->parameters.numel(), 1.0}};
  std::vector<Stretch> list;
  for (const Site* site : s.adapter->layout.sites()) {
    const bool learns =
        layers.empty() || std::find(layers.begin(), layers.end(), site->layer) != layers.end();
    const std::int64_t rows = site->name.end - site->name.begin;
    const double more = learns ? s.settings.b_lr_ratio : 0;
    list.push_back(
        {site->a_offset, site->a_offset + site->r * site->name.inputs, learns ? 1.0 : 0.0});
    list.push_back({site->b_offset, site->b_offset + site->r * rows, more});
    if (site->magnitude_offset >= 0)
      list.push_back({site->magnitude_offset, site->magnitude_offset + rows, more});
  }
  return list;
}

}  // namespace

Result<StepReport> Trainer::step(const std::vector<std::vector<std::size_t>>& micro_batches,
                                 double lr) {
  const ComputeScope scope;
  State& s = *state_;
  const Denominators d = denominators_of(s, micro_batches);
  if (!(d.main > 0)) return fail(Code::kInternal, "no_data: a step without a supervised token");
  StepReport report;
  std::int64_t kl_positions = 0;
  if (s.settings.pcgrad)
    TRIMTAB_CHECK_OK(accumulate_by_task(s, micro_batches, d, report, kl_positions));
  else
    TRIMTAB_CHECK_OK(accumulate(s, micro_batches, d, report, kl_positions));
  TRIMTAB_CHECK_OK(sum_report(s, report, kl_positions));
  if (s.settings.orthogonal != nullptr) {
    report.orthogonal = s.settings.orthogonal->add(s.adapter->parameters, s.lanes[0].gradients);
    report.loss += report.orthogonal;
  }
  if (kl_positions > 0) report.kl /= static_cast<double>(kl_positions);
  const auto parts = stretches(s);
  for (const Stretch& part : parts) {
    if (part.ratio == 0) s.lanes[0].gradients.narrow(0, part.begin, part.end - part.begin).zero_();
  }
  report.grad_norm = gradient_norm(s.lanes[0].gradients);
  if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) {
    return fail(Code::kInternal, "nan_loss: loss or gradient is not finite at step " +
                                     std::to_string(s.optimizer.step() + 1) +
                                     "; lower the learning rate or look at the data");
  }
  const double clip = s.settings.clip_norm > 0
                          ? std::min(1.0, s.settings.clip_norm / (report.grad_norm + 1e-6))
                          : 1.0;
  s.optimizer.next_step();
  for (const Stretch& part : parts) {
    if (part.ratio > 0)
      s.optimizer.update(s.adapter->parameters, s.lanes[0].gradients, part.begin, part.end,
                         lr * part.ratio, clip, true);
  }
  refresh_dora(*s.adapter, *s.decoder);
  return report;
}

Result<double> Trainer::evaluate(const std::vector<Item>& items) const {
  const ComputeScope scope;
  std::vector<const Example*> documents;
  for (const Item& item : items) documents.push_back(&item.example);
  auto packs = pack(documents, state_->adapter.get(), can_share(state_->decoder->config()));
  std::vector<double> sums(packs.size(), 0.0);
  std::int64_t count = 0;
  for (const Packed& p : packs) count += static_cast<std::int64_t>(p.rows.size());
  if (count == 0) return fail(Code::kInvalid, "no_data: nothing supervised in the evaluation data");
  TRIMTAB_CHECK_OK(over_packs(*state_->decoder, packs, state_->settings.lanes,
                              [&](const Packed& p, const at::Tensor& hidden) {
                                const auto logps = label_logprobs(*state_->decoder, hidden, p.rows);
                                sums[static_cast<std::size_t>(&p - packs.data())] =
                                    sum(logps, 0, logps.size());
                              }));
  return -sum(sums, 0, sums.size()) / static_cast<double>(count);
}

Result<std::vector<double>> item_losses(const Decoder& decoder, const Adapter* adapter,
                                        const std::vector<Item>& items, int lanes) {
  const ComputeScope scope;
  std::vector<const Example*> documents;
  for (const Item& item : items) documents.push_back(&item.example);
  auto packs = pack(documents, adapter, can_share(decoder.config()));
  if (!decoder.weights().final_norm.device().is_cpu()) lanes = 1;
  std::vector<double> losses(items.size(), std::numeric_limits<double>::quiet_NaN());
  TRIMTAB_CHECK_OK(over_packs(decoder, packs, lanes, [&](const Packed& p, const at::Tensor& h) {
    const auto logps = label_logprobs(decoder, h, p.rows);
    std::size_t begin = 0;
    for (std::size_t d = 0; d < p.documents.size(); ++d) {
      const std::size_t end = p.row_ends[d];
      if (end > begin)
        losses[p.documents[d]] = -sum(logps, begin, end) / static_cast<double>(end - begin);
      begin = end;
    }
  }));
  return losses;
}

std::int64_t Trainer::steps_done() const { return state_->optimizer.step(); }
const Adapter& Trainer::adapter() const { return *state_->adapter; }

void Trainer::keep_best() {
  const ComputeScope scope;
  state_->best = state_->adapter->parameters.clone();
}

void Trainer::restore_best() {
  const ComputeScope scope;
  if (!state_->best.defined()) return;
  state_->adapter->parameters.copy_(state_->best);
  refresh_dora(*state_->adapter, *state_->decoder);
}

Status Trainer::save_gradients(const std::filesystem::path& path) const {
  const ComputeScope scope;
  Adapter gradients{state_->adapter->layout, state_->lanes[0].gradients, {}};
  return save_tensors(gradients, path);
}

Status Trainer::save(const std::filesystem::path& path,
                     const std::map<std::string, std::string>& words) const {
  const ComputeScope scope;
  const State& s = *state_;
  AdamW optimizer = s.optimizer;
  const std::vector<std::pair<std::string, at::Tensor>> parts = {
      {"parameters", s.adapter->parameters},
      {"m", optimizer.first_moment()},
      {"v", optimizer.second_moment()},
      {"best", s.best.defined() ? s.best : at::zeros({0}, s.adapter->parameters.options())}};
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> here;  // on the CPU
  std::string digests;
  for (const auto& [name, tensor] : parts) {
    const TensorType type =
        tensor.scalar_type() == at::kDouble ? TensorType::kF64 : TensorType::kF32;
    here.push_back(tensor.to(at::kCPU));
    const at::Tensor& t = here.back();
    sources.push_back({name, type, t.sizes().vec(), t.data_ptr()});
    digests +=
        sha256_hex({static_cast<const char*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())});
  }
  auto metadata = words;
  metadata["optimizer_step"] = std::to_string(s.optimizer.step());
  metadata["digest"] = sha256_hex(digests + metadata["optimizer_step"]);
  return write_safetensors(path, sources, metadata);
}

Result<std::map<std::string, std::string>> Trainer::restore(const std::filesystem::path& path) {
  const ComputeScope scope;
  State& s = *state_;
  TRIMTAB_TRY(const auto file, SafetensorsFile::open(path));
  auto words = file.metadata();
  const auto bad = [&](const std::string& why) {
    return fail(Code::kCorrupt,
                path.string() + ": " + why + "; remove the checkpoint to start over");
  };
  std::string digests;
  std::vector<at::Tensor> views;
  for (const char* name : {"parameters", "m", "v", "best"}) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr) return bad(std::string("no '") + name + "'");
    views.push_back(view_of(file, *info));
    const bool optional = std::string(name) == "best" && info->elements() == 0;
    if (!optional && info->elements() != s.adapter->parameters.numel())
      return bad("made for another adapter");
    digests +=
        sha256_hex({reinterpret_cast<const char*>(file.data(*info)), info->end - info->begin});
  }
  if (words["digest"] != sha256_hex(digests + words["optimizer_step"]))
    return bad("its digest does not match");
  s.adapter->parameters.copy_(views[0]);
  s.optimizer.first_moment().copy_(views[1]);
  s.optimizer.second_moment().copy_(views[2]);
  if (views[3].numel() > 0) s.best = beside(views[3], s.adapter->parameters).clone();
  s.optimizer.restore(std::stoll(words["optimizer_step"]));
  refresh_dora(*s.adapter, *s.decoder);
  return words;
}

double schedule_factor(const std::string& name, std::int64_t step, std::int64_t warmup,
                       std::int64_t total) {
  const auto s = static_cast<double>(step);
  const auto w = static_cast<double>(warmup);
  const auto n = static_cast<double>(total);
  if (step < warmup) return s / std::max(1.0, w);
  if (name == "constant") return 1.0;
  if (name == "linear") return std::max(0.0, (n - s) / std::max(1.0, n - w));
  return std::max(0.0,
                  0.5 * (1.0 + std::cos(3.14159265358979323846 * (s - w) / std::max(1.0, n - w))));
}

}  // namespace trimtab::model
