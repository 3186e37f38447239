#include "daemon/gateway/answer_capture.h"

#include <cmath>

#include "base/json.h"

namespace trimtab::gateway {
namespace {

constexpr std::size_t kToolCallsMax = 64;

std::string text_of(const Json& object, const char* key) {
  return json_or<std::string>(object, key, "");
}

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::optional<std::int64_t> count_of(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (value == nullptr || !value->is_number_integer()) return std::nullopt;
  return value->get<std::int64_t>();
}

}  // namespace

void AnswerCapture::whole(std::string_view body) {
  const auto json = parse_json(body);
  if (json && json->is_object()) take(*json);
}

void AnswerCapture::feed(std::string_view piece) {
  if (broken_) return;
  broken_ = !parser_.feed(piece, [this](const net::SseParser::Event& event) {
    if (event.data == "[DONE]") {
      done_seen_ = true;
      return;
    }
    const auto json = parse_json(event.data);
    if (json && json->is_object()) take(*json);
  });
}

void AnswerCapture::take(const Json& object) {
  if (const Json* error = member(object, "error")) {
    answer_.error = error->is_object() ? text_of(*error, "type") : "error";
    if (answer_.error.empty() && error->is_object()) answer_.error = text_of(*error, "message");
    if (answer_.error.empty()) answer_.error = "error";
  } else if (text_of(object, "object") == "error") {  // older vLLM
    answer_.error = text_of(object, "type").empty() ? "error" : text_of(object, "type");
  }
  if (answer_.id.empty()) answer_.id = text_of(object, "id");
  if (answer_.model.empty()) answer_.model = text_of(object, "model");
  if (const Json* usage = member(object, "usage")) take_usage(*usage);
  const Json* choices = member(object, "choices");
  if (choices == nullptr || !choices->is_array()) return;
  answer_.understood = true;
  for (const auto& choice : *choices) {
    if (choice.is_object() && json_or<int>(choice, "index", 0) == 0) take_choice(choice);
  }
}

void AnswerCapture::take_choice(const Json& choice) {
  const Json* message = member(choice, "message");
  if (message == nullptr) message = member(choice, "delta");
  if (message != nullptr) {
    append_text(text_of(*message, "content"));
    if (const Json* calls = member(*message, "tool_calls")) take_tool_calls(*calls);
    // A reasoning model's first token is a token too.
    if (!text_of(*message, "reasoning_content").empty()) content_seen_ = true;
  }
  append_text(text_of(choice, "text"));
  if (const Json* logprobs = member(choice, "logprobs")) take_logprobs(*logprobs);
  const auto finish = text_of(choice, "finish_reason");
  if (!finish.empty()) answer_.finish = finish;
}

void AnswerCapture::append_text(std::string_view text) {
  if (text.empty()) return;
  content_seen_ = true;
  const std::size_t room = text_limit_ - std::min(text_limit_, answer_.text.size());
  if (text.size() > room) answer_.truncated = true;
  answer_.text.append(text.substr(0, room));
}

// Whole calls, or pieces of them that name their call by `index`.
void AnswerCapture::take_tool_calls(const Json& calls) {
  if (!calls.is_array()) return;
  std::size_t position = 0;
  for (const auto& call : calls) {
    const auto index = count_of(call, "index").value_or(static_cast<std::int64_t>(position));
    ++position;
    if (index < 0 || static_cast<std::size_t>(index) >= kToolCallsMax) continue;
    content_seen_ = true;
    if (answer_.tool_calls.size() <= static_cast<std::size_t>(index)) {
      answer_.tool_calls.resize(static_cast<std::size_t>(index) + 1);
    }
    auto& kept = answer_.tool_calls[static_cast<std::size_t>(index)];
    if (kept.id.empty()) kept.id = text_of(call, "id");
    const Json* function = member(call, "function");
    if (function == nullptr) continue;
    if (kept.name.empty()) kept.name = text_of(*function, "name");
    const auto arguments = text_of(*function, "arguments");
    if (kept.arguments.size() + arguments.size() > text_limit_) {
      answer_.truncated = true;
    } else {
      kept.arguments += arguments;
    }
  }
}

// Chat: {"content": [{"logprob": x}, ..]}; completions: {"token_logprobs": [x, ..]}.
void AnswerCapture::take_logprobs(const Json& logprobs) {
  const auto add = [this](const Json* value) {
    if (value == nullptr || !value->is_number()) return;
    const double x = value->get<double>();
    if (!std::isfinite(x)) return;
    logprob_sum_ += x;
    ++logprob_count_;
  };
  if (const Json* content = member(logprobs, "content"); content && content->is_array()) {
    for (const auto& token : *content) add(member(token, "logprob"));
  } else if (const Json* plain = member(logprobs, "token_logprobs"); plain && plain->is_array()) {
    for (const auto& value : *plain) add(&value);
  }
}

void AnswerCapture::take_usage(const Json& usage) {
  if (const auto n = count_of(usage, "prompt_tokens")) answer_.tok_in = n;
  if (const auto n = count_of(usage, "completion_tokens")) answer_.tok_out = n;
  if (const Json* details = member(usage, "prompt_tokens_details")) {
    if (const auto n = count_of(*details, "cached_tokens")) answer_.tok_cached = n;
  }
  if (const Json* details = member(usage, "completion_tokens_details")) {
    if (const auto n = count_of(*details, "reasoning_tokens")) answer_.tok_reasoning = n;
  }
}

const Answer& AnswerCapture::finish() {
  if (logprob_count_ > 0) {
    answer_.mean_logprob = logprob_sum_ / static_cast<double>(logprob_count_);
  }
  return answer_;
}

}  // namespace trimtab::gateway
