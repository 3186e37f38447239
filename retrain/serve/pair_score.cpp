#include "retrain/serve/pair_score.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "retrain/model/compat.h"
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
  const model::ComputeScope scope;
  std::vector<std::vector<SideScore>> out;
  out.reserve(items.size());
  for (std::size_t at = 0; at < items.size(); at += settings_.batch) {
    const auto part = items.subspan(at, std::min(settings_.batch, items.size() - at));
    TRIMTAB_CHECK_OK(score_batch(part, out));
  }
  return out;
}

Status PairScorer::score_batch(std::span<const ScoreItem> items,
                               std::vector<std::vector<SideScore>>& out) const {
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
  TRIMTAB_CHECK_OK(generate(rows));
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::vector<SideScore> sides;
    for (std::size_t s = 0; s < sides_.size(); ++s) {
      const Row& row = rows[s * items.size() + i];
      SideScore score;
      score.greedy = tokenizer_.decode(row.answer, true);
      score.match = trimmed(score.greedy) == trimmed(row.item->text);
      score.tokens = static_cast<std::int64_t>(row.item->target.size());
      score.mean_logprob = row.logprob_sum / static_cast<double>(score.tokens);
      sides.push_back(std::move(score));
    }
    out.push_back(std::move(sides));
  }
  return {};
}

// One forward over every prompt and its known-good text, under every side.
Status PairScorer::read_targets(std::vector<Row>& rows) const {
  model::Batch batch;
  std::vector<std::int64_t> positions;
  std::int64_t begin = 0;
  for (Row& row : rows) {
    TokenIds ids = row.item->prompt;
    ids.insert(ids.end(), row.item->target.begin(), row.item->target.end());
    batch.add(ids, row.adapter, &row.cache);
    const auto prompt = static_cast<std::int64_t>(row.item->prompt.size());
    const auto target = static_cast<std::int64_t>(row.item->target.size());
    for (std::int64_t i = 0; i <= target; ++i) positions.push_back(begin + prompt - 1 + i);
    begin += prompt + target;
  }
  TRIMTAB_TRY(const at::Tensor hidden, decoder_->forward(batch));
  const at::Tensor logits = logits_at(*decoder_, hidden, positions);
  const std::int64_t vocabulary = logits.size(1);
  const float* at = logits.data_ptr<float>();
  for (Row& row : rows) {
    judge_target(row, at, vocabulary);
    at += (static_cast<std::int64_t>(row.item->target.size()) + 1) * vocabulary;
  }
  return {};
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
  model::KvSequence shared;
  model::Batch first;
  first.add(prompt, adapter, &shared);
  TRIMTAB_TRY(const at::Tensor prefix, decoder.forward(first));
  const auto last = static_cast<std::int64_t>(prompt.size()) - 1;
  const at::Tensor next = logits_at(decoder, prefix, {last});
  const auto vocabulary = static_cast<std::size_t>(next.size(1));
  const std::span<const float> after_prompt(next.data_ptr<float>(), vocabulary);

  std::vector<double> sums;
  std::vector<model::KvSequence> caches;
  caches.reserve(labels.size());  // segments point into it
  model::Batch batch;
  for (const TokenIds& label : labels) {
    if (label.empty()) return fail(Code::kInvalid, "a label to rank is empty");
    sums.push_back(log_probability(after_prompt, label[0]));
    if (label.size() == 1) continue;
    caches.push_back(shared.fork());
    batch.add(TokenIds(label.begin(), label.end() - 1), adapter, &caches.back());
  }
  if (batch.segments.empty()) return sums;
  TRIMTAB_TRY(const at::Tensor hidden, decoder.forward(batch));
  const at::Tensor logits = decoder.logits(hidden).to(at::kCPU, at::kFloat).contiguous();
  const float* at = logits.data_ptr<float>();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    for (std::size_t t = 1; t < labels[i].size(); ++t, at += vocabulary) {
      sums[i] += log_probability({at, vocabulary}, labels[i][t]);
    }
  }
  return sums;
}

}  // namespace trimtab::serve
