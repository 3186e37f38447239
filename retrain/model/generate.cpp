#include "retrain/model/generate.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <memory>

#include "retrain/model/compat.h"

namespace trimtab::model {
namespace {

struct Sequence {
  KvSequence cache;
  std::size_t prompt = 0;
  std::vector<std::int64_t> next;  // tokens to feed
};

// Feeds every sequence's `next` and answers the most likely token after each.
Result<std::vector<std::int64_t>> step(const Decoder& decoder, const Adapter* adapter,
                                       std::vector<std::unique_ptr<Sequence>>& live) {
  Batch batch;
  at::Tensor last = at::empty({static_cast<std::int64_t>(live.size())}, at::kLong);
  auto* rows = last.data_ptr<std::int64_t>();
  for (const auto& sequence : live) {
    batch.add(sequence->next, adapter, &sequence->cache);
    *rows++ = static_cast<std::int64_t>(batch.ids.size()) - 1;
  }
  TRIMTAB_TRY(const at::Tensor hidden, decoder.forward(batch));
  const at::Tensor chosen = hidden.index_select(0, last.to(hidden.device()));
  const at::Tensor best = decoder.logits(chosen).argmax(1).to(at::kCPU);
  const auto* ids = best.data_ptr<std::int64_t>();
  return std::vector<std::int64_t>(ids, ids + best.size(0));
}

Status run_batch(const Decoder& decoder, const Adapter* adapter, const GreedySettings& settings,
                 std::vector<std::unique_ptr<Sequence>> live,
                 std::vector<std::vector<std::int64_t>>& out) {
  for (std::int64_t made = 0; made < settings.max_new_tokens && !live.empty(); ++made) {
    TRIMTAB_TRY(const auto best, step(decoder, adapter, live));
    std::vector<std::unique_ptr<Sequence>> going;
    for (std::size_t i = 0; i < live.size(); ++i) {
      if (std::find(settings.stop_ids.begin(), settings.stop_ids.end(), best[i]) !=
          settings.stop_ids.end())
        continue;
      out[live[i]->prompt].push_back(best[i]);
      live[i]->next = {best[i]};
      going.push_back(std::move(live[i]));
    }
    live = std::move(going);
  }
  return {};
}

}  // namespace

Result<std::vector<std::vector<std::int64_t>>> generate_greedy(
    const Decoder& decoder, const Adapter* adapter,
    const std::vector<std::vector<std::int64_t>>& prompts, const GreedySettings& settings) {
  const ComputeScope scope;
  std::vector<std::vector<std::int64_t>> out(prompts.size());
  const auto width = static_cast<std::size_t>(std::max<std::int64_t>(1, settings.batch));
  for (std::size_t begin = 0; begin < prompts.size(); begin += width) {
    std::vector<std::unique_ptr<Sequence>> live;
    for (std::size_t i = begin; i < std::min(prompts.size(), begin + width); ++i) {
      if (prompts[i].empty()) return fail(Code::kInvalid, "an empty prompt has no continuation");
      live.push_back(std::make_unique<Sequence>(Sequence{{}, i, prompts[i]}));
    }
    TRIMTAB_CHECK_OK(run_batch(decoder, adapter, settings, std::move(live), out));
  }
  return out;
}

}  // namespace trimtab::model
