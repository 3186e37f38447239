// The engine: one thread that answers many requests in one batch over one base model.
//
// Continuous batching (Orca, Yu et al. 2022): at every step each running request contributes its
// next token and newly admitted ones their prompt (long prompts in pieces), each under its own
// adapter, with a KV cache of its own; finished ones leave and waiting ones take their place. The
// queue is bounded: past it submit() says kExhausted. Rows are ordered by adapter, so that each
// adapter's product runs once a layer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/queue.h"
#include "base/result.h"
#include "retrain/model/decoder.h"
#include "retrain/model/tokenizer.h"
#include "retrain/serve/generation.h"

namespace trimtab::serve {

struct EngineOptions {
  std::size_t max_batch = 16;           // requests running at once
  std::size_t queue = 256;              // and waiting
  std::int64_t max_step_tokens = 2048;  // prompt tokens a step, so that running answers keep moving
  std::int64_t max_context = 4096;      // prompt and answer; never more than the model's own
  int threads = 1;                      // of the matrix products
  std::uint64_t seed = 0;               // of requests that give none: seed + their number
};

class Engine {
 public:
  // `metrics` must outlive the engine. `stop_ids`: the model's end-of-sequence tokens.
  Engine(std::shared_ptr<const model::Decoder> decoder, model::Tokenizer tokenizer,
         std::vector<model::TokenId> stop_ids, EngineOptions options, Metrics& metrics);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // kExhausted: the queue is full; kInvalid: the prompt is empty, too long, or has unknown ids.
  // Thread-safe.
  [[nodiscard]] Result<std::shared_ptr<Generation>> submit(GenerationRequest request);
  // Ends the thread; requests that are not done end as cancelled. Idempotent.
  void stop();

  [[nodiscard]] std::int64_t max_context() const { return options_.max_context; }
  [[nodiscard]] std::size_t running() const { return running_; }
  [[nodiscard]] std::size_t waiting() const { return queue_.size(); }
  // Steps taken so far: proof of progress for a watchdog.
  [[nodiscard]] std::uint64_t steps() const { return steps_; }

 private:
  struct Row;

  void loop(const std::stop_token& stop);
  void admit(const std::stop_token& stop);
  void drop_cancelled();
  void step();
  void step_unguarded();
  void fail_all(const std::string& why);
  void advance(Row& row, std::span<const float> logits);
  // `flush`: what the decoder and the stop matcher hold back belongs to the answer.
  void end(Row& row, Finish finish, bool flush);

  std::shared_ptr<const model::Decoder> decoder_;
  model::Tokenizer tokenizer_;
  std::vector<model::TokenId> stop_ids_;
  EngineOptions options_;
  BoundedQueue<std::shared_ptr<Generation>> queue_;
  std::vector<std::unique_ptr<Row>> rows_;
  std::atomic<std::size_t> running_ = 0;
  std::atomic<std::uint64_t> steps_ = 0;
  std::uint64_t admitted_ = 0;
  Counter& generated_tokens_;
  Counter& prompt_tokens_;
  Histogram& batch_rows_;
  std::jthread thread_;  // last: ends before the rest goes
};

}  // namespace trimtab::serve
