#include "retrain/serve/engine.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "retrain/model/compat.h"
#include "retrain/serve/adapters.h"

namespace trimtab::serve {

using model::TokenId;
using model::TokenIds;

struct Engine::Row {
  Row(std::shared_ptr<Generation> g, const model::Tokenizer& tokenizer, std::uint64_t seed)
      : generation(std::move(g)),
        request(generation->request()),
        pending(request.prompt),
        decoder(tokenizer, true),
        matcher(request.stop),
        random(seed) {}

  [[nodiscard]] const model::Adapter* adapter() const {
    return request.adapter ? request.adapter->weights.get() : nullptr;
  }

  std::shared_ptr<Generation> generation;
  const GenerationRequest& request;
  TokenIds pending;     // tokens the model has not seen yet
  std::size_t fed = 0;  // of them, given in this step
  model::KvSequence cache;
  model::StreamDecoder decoder;
  StopMatcher matcher;
  Random random;
  bool done = false;
};

Engine::Engine(std::shared_ptr<const model::Decoder> decoder, model::Tokenizer tokenizer,
               std::vector<TokenId> stop_ids, EngineOptions options, Metrics& metrics)
    : decoder_(std::move(decoder)),
      tokenizer_(std::move(tokenizer)),
      stop_ids_(std::move(stop_ids)),
      options_(options),
      queue_(options.queue),
      generated_tokens_(
          metrics.counter("trimtab_serve_generated_tokens_total", "Tokens produced for answers.")
              .with()),
      prompt_tokens_(
          metrics.counter("trimtab_serve_prompt_tokens_total", "Prompt tokens computed.").with()),
      batch_rows_(metrics
                      .histogram("trimtab_serve_batch_rows", "Requests in one step of the engine.",
                                 {1, 2, 4, 8, 16, 32, 64, 128})
                      .with()) {
  options_.max_context = std::min(options_.max_context, decoder_->config().max_positions);
  auto& queue_depth =
      metrics.gauge("trimtab_serve_queue_depth", "Requests waiting for the engine.").with();
  auto& running =
      metrics.gauge("trimtab_serve_running_requests", "Requests in the engine's batch.").with();
  metrics.gauge("trimtab_serve_queue_capacity", "Bound of the engine's queue.")
      .with()
      .set(static_cast<double>(options_.queue));
  metrics.before_expose([this, &queue_depth, &running] {
    queue_depth.set(static_cast<double>(waiting()));
    running.set(static_cast<double>(running_));
  });
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

Engine::~Engine() { stop(); }

void Engine::stop() {
  thread_.request_stop();
  queue_.close();
  if (thread_.joinable()) thread_.join();
}

Result<std::shared_ptr<Generation>> Engine::submit(GenerationRequest request) {
  if (request.prompt.empty()) return fail(Code::kInvalid, "the prompt is empty");
  const auto length = static_cast<std::int64_t>(request.prompt.size());
  if (length + request.max_tokens > options_.max_context) {
    return fail(Code::kInvalid, "This model's maximum context length is " +
                                    std::to_string(options_.max_context) +
                                    " tokens. However, you requested " +
                                    std::to_string(length + request.max_tokens) + " tokens (" +
                                    std::to_string(length) + " in the prompt, " +
                                    std::to_string(request.max_tokens) + " in the completion).");
  }
  for (const TokenId id : request.prompt) {
    if (id < 0 || id >= decoder_->config().vocab) {
      return fail(Code::kInvalid, "token id " + std::to_string(id) + " is outside the vocabulary");
    }
  }
  auto generation = std::make_shared<Generation>(std::move(request));
  auto handed = generation;
  if (!queue_.try_push(std::move(handed))) {
    return fail(Code::kExhausted, "the server's queue is full (" + std::to_string(options_.queue) +
                                      " requests wait); try again later");
  }
  return generation;
}

void Engine::loop(const std::stop_token& stop) {
  model::set_compute_threads(options_.threads);  // OpenMP's count belongs to the thread
  while (!stop.stop_requested()) {
    drop_cancelled();
    admit(stop);
    if (!rows_.empty()) step();
    running_ = rows_.size();
  }
  for (auto& row : rows_) end(*row, Finish::kCancelled, false);
  rows_.clear();
  while (auto waiting = queue_.try_pop()) (*waiting)->finish(Finish::kCancelled);
}

void Engine::admit(const std::stop_token& stop) {
  while (rows_.size() < options_.max_batch) {
    std::optional<std::shared_ptr<Generation>> next;
    if (rows_.empty())
      next = queue_.pop(std::chrono::milliseconds(200), stop);
    else
      next = queue_.try_pop();
    if (!next) return;
    if ((*next)->cancelled()) {
      (*next)->finish(Finish::kCancelled);
      continue;
    }
    const std::uint64_t seed = (*next)->request().seed.value_or(options_.seed + ++admitted_);
    rows_.push_back(std::make_unique<Row>(std::move(*next), tokenizer_, seed));
    running_ = rows_.size();
  }
}

void Engine::drop_cancelled() {
  for (auto& row : rows_) {
    if (row->generation->cancelled()) end(*row, Finish::kCancelled, false);
  }
  std::erase_if(rows_, [](const auto& row) { return row->done; });
}

void Engine::step() {
  try {
    step_unguarded();
  } catch (const std::exception& error) {  // c10::Error, std::bad_alloc: this batch only
    fail_all(error.what());
  }
  std::erase_if(rows_, [](const auto& row) { return row->done; });
  ++steps_;
}

void Engine::fail_all(const std::string& why) {
  const std::string line = why.substr(0, why.find('\n'));
  log::error("the engine's step failed, {} requests end: {}", rows_.size(), line);
  for (auto& row : rows_) {
    if (!row->done) row->generation->finish(Finish::kError, line);
    row->done = true;
  }
}

void Engine::step_unguarded() {
  const model::ComputeScope scope;
  std::stable_sort(rows_.begin(), rows_.end(), [](const auto& a, const auto& b) {
    return std::less<const model::Adapter*>()(a->adapter(), b->adapter());
  });
  model::Batch batch;
  std::vector<Row*> ready;              // rows whose whole text the model has seen after this step
  std::vector<std::int64_t> last_rows;  // their last position in the batch
  std::int64_t budget = options_.max_step_tokens;
  std::int64_t position = 0;
  for (auto& row : rows_) {
    const auto wanted = static_cast<std::int64_t>(row->pending.size());
    const std::int64_t fed = wanted == 1 ? 1 : std::min(wanted, budget);
    row->fed = static_cast<std::size_t>(std::max<std::int64_t>(fed, 0));
    if (row->fed == 0) continue;
    if (wanted > 1) budget -= fed;
    batch.add(TokenIds(row->pending.begin(), row->pending.begin() + fed), row->adapter(),
              &row->cache);
    position += fed;
    if (fed < wanted) continue;
    ready.push_back(row.get());
    last_rows.push_back(position - 1);
  }
  const auto hidden = decoder_->forward(batch);
  if (!hidden) return fail_all(hidden.error().message);
  batch_rows_.observe(static_cast<double>(batch.segments.size()));
  for (auto& row : rows_) {
    if (row->fed > 1) prompt_tokens_.add(static_cast<double>(row->fed));
    row->pending.erase(row->pending.begin(),
                       row->pending.begin() + static_cast<std::ptrdiff_t>(row->fed));
  }
  if (ready.empty()) return;
  at::Tensor index = at::empty({static_cast<std::int64_t>(last_rows.size())}, at::kLong);
  std::copy(last_rows.begin(), last_rows.end(), index.data_ptr<std::int64_t>());
  const at::Tensor logits = decoder_->logits(hidden->index_select(0, index.to(hidden->device())))
                                .to(at::kCPU, at::kFloat)
                                .contiguous();
  const auto vocabulary = static_cast<std::size_t>(logits.size(1));
  for (std::size_t i = 0; i < ready.size(); ++i) {
    advance(*ready[i], {logits.data_ptr<float>() + i * vocabulary, vocabulary});
  }
}

void Engine::advance(Row& row, std::span<const float> logits) {
  const GenerationRequest& request = row.request;
  const Chosen chosen = choose(logits, request.sampling, row.random);
  const TokenId id = chosen.id;
  generated_tokens_.add();
  row.generation->count_token();
  const auto is_in = [&](const std::vector<TokenId>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  const bool ends = (!request.ignore_eos && is_in(stop_ids_)) || is_in(request.stop_ids);
  bool stopped = false;
  std::string text;
  if (!ends) text = row.matcher.push(row.decoder.push(id), stopped);
  std::optional<ProducedToken> token;
  if (request.sampling.logprobs) {
    const auto text_of = [&](TokenId one) { return tokenizer_.decode(std::span(&one, 1), false); };
    token = ProducedToken{text_of(id), chosen.logprob, {}};
    for (const auto& [other, logprob] : chosen.top)
      token->top.emplace_back(text_of(other), logprob);
  }
  if (!text.empty() || token) row.generation->add(text, std::move(token));
  if (ends || stopped) return end(row, Finish::kStop, !stopped);
  if (row.generation->produced() >= request.max_tokens) return end(row, Finish::kLength, true);
  row.pending = {id};
}

void Engine::end(Row& row, Finish finish, bool flush) {
  if (flush) {
    bool stopped = false;
    std::string rest = row.matcher.push(row.decoder.finish(), stopped);
    if (stopped)
      finish = Finish::kStop;
    else
      rest += row.matcher.finish();
    if (!rest.empty()) row.generation->add(rest, std::nullopt);
  }
  row.generation->finish(finish);
  row.done = true;
}

}  // namespace trimtab::serve
