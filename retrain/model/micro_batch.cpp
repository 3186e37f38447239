#include "retrain/model/micro_batch.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "retrain/model/compat.h"
#include "retrain/model/shared_prefix.h"

namespace trimtab::model {
namespace {

double sigmoid(double x) {
  return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}
double minus_log_sigmoid(double x) {
  return x >= 0 ? std::log1p(std::exp(-x)) : -x + std::log1p(std::exp(x));
}

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

}  // namespace

Status run_micro_batch(const Trainer::State& state, const std::vector<std::size_t>& indices,
                       std::uint64_t key, const Denominators& d, LaneState& lane) {
  return MicroBatch(state, indices, key, lane).run(d);
}

}  // namespace trimtab::model
