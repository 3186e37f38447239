#include "retrain/model/trainer.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/hash.h"
#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"
#include "retrain/model/lanes.h"
#include "retrain/model/many_tasks.h"
#include "retrain/model/micro_batch.h"
#include "retrain/model/peers.h"
#include "retrain/model/trainer_state.h"

namespace trimtab::model {

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
        auto status =
            run_micro_batch(s, indices, key + 0x9e3779b97f4a7c15ULL * pass++, d, s.lanes[l]);
        if (!status) failures[l] = std::move(status);
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
