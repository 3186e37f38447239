#include "retrain/serve/pair_score.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "retrain/model/backward.h"
#include "retrain/model/compat.h"
#include "retrain/model/lanes.h"
#include "retrain/model/shared_prefix.h"
#include "retrain/serve/sampler.h"

namespace trimtab::serve {

using model::TokenId;
using model::TokenIds;

namespace {

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r\n\f\v");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n\f\v") + 1 - begin);
}

// fp32 logits [positions, vocab] of some rows of `hidden`.
at::Tensor logits_at(const model::Decoder& decoder, const at::Tensor& hidden,
                     const std::vector<std::int64_t>& positions) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(positions.size())}, at::kLong);
  std::copy(positions.begin(), positions.end(), index.data_ptr<std::int64_t>());
  return decoder.logits(hidden.index_select(0, index.to(hidden.device())))
      .to(at::kCPU, at::kFloat)
      .contiguous();
}

TokenId greedy_of(const float* row, std::int64_t vocabulary) {
  return std::max_element(row, row + vocabulary) - row;
}

}  // namespace

struct PairScorer::Row {
  const ScoreItem* item = nullptr;
  const model::Adapter* adapter = nullptr;
  model::KvSequence cache;
  TokenIds answer;    // the greedy answer's tokens so far
  TokenId next = -1;  // the greedy token after them, not yet given to the model
  bool done = false;
  double logprob_sum = 0.0;
};

PairScorer::PairScorer(std::shared_ptr<const model::Decoder> decoder, model::Tokenizer tokenizer,
                       std::vector<TokenId> stop_ids, std::vector<const model::Adapter*> sides,
                       ScoreSettings settings)
    : decoder_(std::move(decoder)),
      tokenizer_(std::move(tokenizer)),
      stop_ids_(std::move(stop_ids)),
      sides_(std::move(sides)),
      settings_(settings) {}

bool PairScorer::is_stop(TokenId id) const {
  return std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
}

Result<std::vector<std::vector<SideScore>>> PairScorer::score(
    std::span<const ScoreItem> items) const {
  std::vector<std::vector<SideScore>> out(items.size());
  const std::size_t step = settings_.batch;
  const std::size_t batches = (items.size() + step - 1) / step;
  const auto lanes = static_cast<std::size_t>(std::max(1, settings_.lanes));
  std::vector<Status> ends(batches);
  model::run_lanes(static_cast<int>(lanes), [&](int lane) {
    const model::ComputeScope scope;
    for (auto b = static_cast<std::size_t>(lane); b < batches; b += lanes) {
      const std::size_t at = b * step;
      const std::size_t count = std::min(step, items.size() - at);
      ends[b] = score_batch(items.subspan(at, count), std::span(out).subspan(at, count));
    }
  });
  for (const Status& end : ends) TRIMTAB_CHECK_OK(end);
  return out;
}

Status PairScorer::score_batch(std::span<const ScoreItem> items,
                               std::span<std::vector<SideScore>> out) const {
  std::vector<Row> rows;  // side by side: all items of one adapter lie together
  for (const model::Adapter* side : sides_) {
    for (const ScoreItem& item : items) {
      const auto length = static_cast<std::int64_t>(item.prompt.size() + item.target.size());
      if (length + settings_.max_new_tokens > decoder_->config().max_positions) {
        return fail(Code::kInvalid,
                    "item '" + item.id + "' has " + std::to_string(length) +
                        " tokens; with an answer it exceeds the model's context of " +
                        std::to_string(decoder_->config().max_positions));
      }
      Row row;
      row.item = &item;
      row.adapter = side;
      rows.push_back(std::move(row));
    }
  }
  TRIMTAB_CHECK_OK(read_targets(rows));
  if (!settings_.likelihood_only) TRIMTAB_CHECK_OK(generate(rows));
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::vector<SideScore> sides;
    for (std::size_t s = 0; s < sides_.size(); ++s) {
      const Row& row = rows[s * items.size() + i];
      SideScore score;
      if (!settings_.likelihood_only) {
        score.greedy = tokenizer_.decode(row.answer, true);
        score.match = trimmed(score.greedy) == trimmed(row.item->text);
      }
      score.tokens = static_cast<std::int64_t>(row.item->target.size());
      score.mean_logprob = row.logprob_sum / static_cast<double>(score.tokens);
      sides.push_back(std::move(score));
    }
    out[i] = std::move(sides);
  }
  return {};
}

// One forward over every prompt and its known-good text, under every side.
Status PairScorer::read_targets(std::vector<Row>& rows) const {
  std::vector<TokenIds> ids;
  for (const Row& row : rows) {
    ids.push_back(row.item->prompt);
    ids.back().insert(ids.back().end(), row.item->target.begin(), row.item->target.end());
  }
  model::SharedBatch shared;
  for (std::size_t begin = 0; begin < rows.size();) {  // rows of one adapter lie together
    std::size_t end = begin;
    std::vector<std::span<const std::int64_t>> documents;
    model::Caches caches;
    for (; end < rows.size() && rows[end].adapter == rows[begin].adapter; ++end) {
      documents.emplace_back(ids[end]);
      if (!settings_.likelihood_only) caches.push_back(&rows[end].cache);
    }
    model::append_shared(documents, rows[begin].adapter, model::can_share(decoder_->config()),
                         caches, shared);
    begin = end;
  }
  TRIMTAB_TRY(const at::Tensor hidden, decoder_->forward(shared.batch));
  TRIMTAB_CHECK_OK(judge_targets(rows, hidden, shared.rows));
  return settings_.likelihood_only ? Status{} : fill_caches(rows);
}

// `where[i]`: the rows of hidden states that row i's tokens have. A bounded number of logits at a
// time.
Status PairScorer::judge_targets(std::vector<Row>& rows, const at::Tensor& hidden,
                                 const std::vector<std::vector<std::int64_t>>& where) const {
  constexpr std::size_t kPositions = 256;
  for (std::size_t begin = 0; begin < rows.size();) {
    std::vector<std::int64_t> positions;
    std::size_t end = begin;
    while (end < rows.size() && (end == begin || positions.size() < kPositions)) {
      const auto first = static_cast<std::ptrdiff_t>(rows[end].item->prompt.size()) - 1;
      positions.insert(positions.end(), where[end].begin() + first, where[end].end());
      ++end;
    }
    const at::Tensor logits = logits_at(*decoder_, hidden, positions);
    const float* at = logits.data_ptr<float>();
    for (; begin < end; ++begin) {
      judge_target(rows[begin], at, logits.size(1));
      at += (static_cast<std::int64_t>(rows[begin].item->target.size()) + 1) * logits.size(1);
    }
  }
  return {};
}

// A text that is another's beginning has no cache of its own yet.
Status PairScorer::fill_caches(std::vector<Row>& rows) const {
  model::Batch batch;
  for (Row& row : rows) {
    if (row.done || row.cache.length() > 0) continue;
    TokenIds known = row.item->prompt;
    known.insert(known.end(), row.answer.begin(), row.answer.end());
    batch.add(known, row.adapter, &row.cache);
  }
  if (batch.segments.empty()) return {};
  return decoder_->forward(batch).map([](const at::Tensor&) {});
}

void PairScorer::judge_target(Row& row, const float* logits, std::int64_t vocabulary) const {
  const TokenIds& target = row.item->target;
  bool follows = true;  // the greedy answer is the known-good text so far
  for (std::size_t i = 0; i <= target.size(); ++i, logits += vocabulary) {
    const std::span<const float> here(logits, static_cast<std::size_t>(vocabulary));
    if (i < target.size()) row.logprob_sum += log_probability(here, target[i]);
    if (!follows) continue;
    const TokenId greedy = greedy_of(logits, vocabulary);
    if (i < target.size() && greedy == target[i]) {
      row.answer.push_back(greedy);
      continue;
    }
    follows = false;
    row.next = greedy;
  }
  row.done =
      is_stop(row.next) || static_cast<std::int64_t>(row.answer.size()) >= settings_.max_new_tokens;
  if (static_cast<std::int64_t>(row.answer.size()) > settings_.max_new_tokens) {
    row.answer.resize(static_cast<std::size_t>(settings_.max_new_tokens));
  }
  row.cache.truncate(static_cast<std::int64_t>(row.item->prompt.size() + row.answer.size()));
}

Status PairScorer::generate(std::vector<Row>& rows) const {
  for (std::int64_t step = 0; step < settings_.max_new_tokens; ++step) {
    model::Batch batch;
    std::vector<Row*> going;
    for (Row& row : rows) {
      if (row.done) continue;
      row.answer.push_back(row.next);
      if (static_cast<std::int64_t>(row.answer.size()) >= settings_.max_new_tokens) {
        row.done = true;
        continue;
      }
      batch.add({row.next}, row.adapter, &row.cache);
      going.push_back(&row);
    }
    if (going.empty()) return {};
    TRIMTAB_TRY(const at::Tensor hidden, decoder_->forward(batch));
    const at::Tensor logits = decoder_->logits(hidden).to(at::kCPU, at::kFloat).contiguous();
    for (std::size_t i = 0; i < going.size(); ++i) {
      going[i]->next = greedy_of(
          logits.data_ptr<float>() + static_cast<std::int64_t>(i) * logits.size(1), logits.size(1));
      going[i]->done = is_stop(going[i]->next);
    }
  }
  return {};
}

Result<std::vector<double>> label_logprobs(const model::Decoder& decoder,
                                           const model::Adapter* adapter, const TokenIds& prompt,
                                           std::span<const TokenIds> labels) {
  const model::ComputeScope scope;
  if (prompt.empty()) return fail(Code::kInvalid, "the prompt to rank labels behind is empty");
  std::vector<TokenIds> ids;
  for (const TokenIds& label : labels) {
    if (label.empty()) return fail(Code::kInvalid, "a label to rank is empty");
    ids.push_back(prompt);
    ids.back().insert(ids.back().end(), label.begin(), label.end() - 1);  // the last one only asks
  }
  const std::vector<std::span<const std::int64_t>> documents(ids.begin(), ids.end());
  const model::SharedBatch shared =
      model::share_prefixes(documents, adapter, model::can_share(decoder.config()));
  TRIMTAB_TRY(const at::Tensor hidden, decoder.forward(shared.batch));
  std::vector<model::HeadRow> rows;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    for (std::size_t t = 0; t < labels[i].size(); ++t)
      rows.push_back({shared.rows[i][prompt.size() - 1 + t], labels[i][t]});
  }
  const auto logprobs = model::label_logprobs(decoder, hidden, rows);
  std::vector<double> sums;
  auto at = logprobs.begin();
  for (const TokenIds& label : labels) {
    const auto end = at + static_cast<std::ptrdiff_t>(label.size());
    sums.push_back(std::accumulate(at, end, 0.0));
    at = end;
  }
  return sums;
}

}  // namespace trimtab::serve
