// OpenAI's and vLLM's JSON, in and out: requests checked strictly, answers and stream chunks built.
//
// A parameter that would change the answer and is not covered (tools, logit_bias, n > 1, ..) is
// refused by name, never ignored. No torch, no threads: plain functions over JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/net/message.h"
#include "base/result.h"
#include "retrain/serve/generation.h"

namespace trimtab::serve {

// What a body asked for, before its text is tokenized.
struct ApiRequest {
  std::string model;
  bool chat = false;
  std::string messages_json;                // chat: the list, keys in the client's order
  std::string template_json;                // chat: further variables of the template, an object
  std::vector<std::string> prompts;         // completions: texts, or
  std::vector<model::TokenIds> prompt_ids;  // token ids
  bool add_special_tokens = true;           // completions: BOS by the tokenizer's template
  std::optional<std::int64_t> max_tokens;   // absent: chat as much as fits, completions 16
  bool stream = false;
  bool include_usage = false;
  GenerationRequest generation;  // sampling, stop, seed; prompt and adapter still empty
};

// kInvalid: what is wrong with which key.
[[nodiscard]] Result<ApiRequest> parse_chat(std::string_view body);
[[nodiscard]] Result<ApiRequest> parse_completion(std::string_view body);

// {"error": {"message", "type", "param", "code"}}.
[[nodiscard]] net::Response error_response(int status, std::string_view message);
[[nodiscard]] net::Response error_response(const Error& error);

// One finished choice.
struct Choice {
  std::string text;
  std::vector<ProducedToken> tokens;
  Finish finish = Finish::kNone;
};
struct Usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
};
struct AnswerHead {
  std::string id;
  std::int64_t created_s = 0;
  std::string model;
  bool chat = false;
  bool logprobs = false;
};

[[nodiscard]] std::string answer_json(const AnswerHead& head, const std::vector<Choice>& choices,
                                      const Usage& usage);
// Stream chunks: the role (chat), a piece, the end, the usage.
[[nodiscard]] std::string role_chunk(const AnswerHead& head);
[[nodiscard]] std::string piece_chunk(const AnswerHead& head, std::size_t index,
                                      const Progress& piece);
[[nodiscard]] std::string finish_chunk(const AnswerHead& head, std::size_t index, Finish finish);
[[nodiscard]] std::string usage_chunk(const AnswerHead& head, const Usage& usage);

}  // namespace trimtab::serve
