// One request on its way through the engine, and the text that comes out of it.
//
// A Generation is shared by the HTTP thread that waits and the engine's thread that produces; all
// of its functions are thread-safe. Cancelling it frees its place in the batch at the next step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "retrain/model/tokenizer.h"
#include "retrain/serve/sampler.h"

namespace trimtab::serve {

struct ServedAdapter;

struct GenerationRequest {
  model::TokenIds prompt;  // at least one token
  std::int64_t max_tokens = 16;
  Sampling sampling;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;         // texts that end the answer and are not part of it
  std::vector<model::TokenId> stop_ids;  // besides the model's own
  bool ignore_eos = false;
  // Held until the request ends, so that unloading an adapter never disturbs an answer. null: base.
  std::shared_ptr<const ServedAdapter> adapter;
};

enum class Finish { kNone, kStop, kLength, kCancelled, kError };
[[nodiscard]] std::string_view finish_reason(Finish finish);  // OpenAI's "stop", "length"

// A token with its logprob, for answers that ask for them.
struct ProducedToken {
  std::string text;  // the token's own text
  double logprob = 0.0;
  std::vector<std::pair<std::string, double>> top;  // most likely first
};

// What was produced since the last look.
struct Progress {
  std::string text;
  std::vector<ProducedToken> tokens;  // filled only when logprobs were asked for
  Finish finish = Finish::kNone;
  std::string error;  // with kError
};

class Generation {
 public:
  explicit Generation(GenerationRequest request) : request_(std::move(request)) {}

  [[nodiscard]] const GenerationRequest& request() const { return request_; }
  void cancel() { cancelled_ = true; }
  [[nodiscard]] bool cancelled() const { return cancelled_; }

  // Waits at most `wait_ms` for something new (`until_done`: for the end) and takes it.
  [[nodiscard]] Progress take(std::int64_t wait_ms, bool until_done);
  // Tokens produced so far, the end-of-sequence token included: OpenAI's completion_tokens.
  [[nodiscard]] std::int64_t produced() const { return produced_; }

  // The engine's side.
  void add(std::string_view text, std::optional<ProducedToken> token);
  void count_token() { ++produced_; }
  void finish(Finish finish, std::string error = {});

 private:
  GenerationRequest request_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<std::int64_t> produced_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  Progress pending_;
  bool streaming_ = false;  // the waiter wants pieces, not only the end
};

// Cuts an answer at the first stop text, holding back what may become one.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stop) : stop_(std::move(stop)) {}
  // The text that is certain now. `stopped` is set when a stop text was found.
  [[nodiscard]] std::string push(std::string_view text, bool& stopped);
  [[nodiscard]] std::string finish() { return std::exchange(held_, {}); }

 private:
  std::vector<std::string> stop_;
  std::string held_;
};

}  // namespace trimtab::serve
