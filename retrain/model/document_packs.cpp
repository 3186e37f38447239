// Forwards without a backward over many documents: reference values, evaluation, losses an item.
#include <ATen/ops/empty.h>

#include <limits>
#include <span>

#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"
#include "retrain/model/lanes.h"
#include "retrain/model/shared_prefix.h"
#include "retrain/model/trainer_state.h"

namespace trimtab::model {

void add_rows(const Example& example, const std::vector<std::int64_t>& where,
              std::vector<HeadRow>& rows) {
  for (std::size_t i = 1; i < example.ids.size(); ++i) {
    if (example.labels[i] >= 0) rows.push_back({where[i - 1], example.labels[i]});
  }
}

double sum(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  double total = 0;
  for (std::size_t i = begin; i < end; ++i) total += values[i];
  return total;
}

namespace {

// Documents that share a forward: about this many tokens.
constexpr std::int64_t kReferenceTokens = 2048;

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

}  // namespace trimtab::model
