// AnswerCapture: reads along while an OpenAI answer passes through, whole or as a stream, and keeps
// what the record needs. It never changes or delays a byte. Memory is bounded by `text_limit`.
//
// One object an answer; not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/net/client.h"

namespace trimtab::gateway {

struct ToolCall {
  std::string id, name, arguments;
};

struct Answer {
  bool understood = false;  // it was JSON of the expected shape
  std::string id;           // the upstream's own
  std::string model;        // who answered, as the upstream says; empty: it did not say
  std::string text;         // of choice 0
  std::vector<ToolCall> tool_calls;
  std::string finish;  // finish_reason of choice 0
  std::string error;   // an error object's type or message
  std::optional<std::int64_t> tok_in, tok_out, tok_cached, tok_reasoning;
  std::optional<double> mean_logprob;  // of choice 0's tokens, when the client asked for them
  bool truncated = false;              // text was longer than the bound
};

class AnswerCapture {
 public:
  explicit AnswerCapture(std::size_t text_limit) : text_limit_(text_limit) {}

  void whole(std::string_view body);
  // A piece of an event stream, cut anywhere.
  void feed(std::string_view piece);
  [[nodiscard]] bool content_seen() const { return content_seen_; }  // the first token has come
  [[nodiscard]] bool model_seen() const { return !answer_.model.empty(); }
  [[nodiscard]] bool done_seen() const { return done_seen_; }  // "data: [DONE]"
  // Completes mean_logprob; call once at the end.
  [[nodiscard]] const Answer& finish();

 private:
  void take(const nlohmann::json& object);
  void take_choice(const nlohmann::json& choice);
  void take_tool_calls(const nlohmann::json& calls);
  void take_logprobs(const nlohmann::json& logprobs);
  void take_usage(const nlohmann::json& usage);
  void append_text(std::string_view text);

  std::size_t text_limit_;
  Answer answer_;
  net::SseParser parser_;
  bool content_seen_ = false;
  bool done_seen_ = false;
  bool broken_ = false;
  double logprob_sum_ = 0.0;
  std::size_t logprob_count_ = 0;
};

}  // namespace trimtab::gateway
