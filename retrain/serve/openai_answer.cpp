#include <algorithm>
#include <utility>

#include "base/json.h"
#include "retrain/serve/openai.h"

namespace trimtab::serve {
namespace {

OrderedJson bytes_of(const std::string& text) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

// -9999 stands for minus infinity, which JSON cannot write; vLLM does the same.
double finite(double logprob) { return std::max(logprob, -9999.0); }

OrderedJson chat_logprobs(const std::vector<ProducedToken>& tokens) {
  OrderedJson content = OrderedJson::array();
  for (const auto& token : tokens) {
    OrderedJson top = OrderedJson::array();
    for (const auto& [text, logprob] : token.top) {
      top.push_back({{"token", text}, {"logprob", finite(logprob)}, {"bytes", bytes_of(text)}});
    }
    content.push_back({{"token", token.text},
                       {"logprob", finite(token.logprob)},
                       {"bytes", bytes_of(token.text)},
                       {"top_logprobs", top}});
  }
  return {{"content", content}};
}

OrderedJson completion_logprobs(const std::vector<ProducedToken>& tokens) {
  OrderedJson texts = OrderedJson::array(), values = OrderedJson::array(),
              tops = OrderedJson::array(), offsets = OrderedJson::array();
  std::size_t offset = 0;
  for (const auto& token : tokens) {
    texts.push_back(token.text);
    values.push_back(finite(token.logprob));
    OrderedJson top = OrderedJson::object();
    for (const auto& [text, logprob] : token.top) top[text] = finite(logprob);
    tops.push_back(top);
    offsets.push_back(offset);
    offset += token.text.size();
  }
  return {{"text_offset", offsets},
          {"token_logprobs", values},
          {"tokens", texts},
          {"top_logprobs", tops}};
}

OrderedJson logprobs_json(const AnswerHead& head, const std::vector<ProducedToken>& tokens) {
  if (!head.logprobs) return nullptr;
  return head.chat ? chat_logprobs(tokens) : completion_logprobs(tokens);
}

OrderedJson usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"completion_tokens", usage.completion_tokens}};
}

OrderedJson head_json(const AnswerHead& head, bool chunk) {
  const char* object =
      head.chat ? (chunk ? "chat.completion.chunk" : "chat.completion") : "text_completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created_s}, {"model", head.model}};
}

std::string chunk_json(const AnswerHead& head, OrderedJson choice) {
  OrderedJson json = head_json(head, true);
  json["choices"] = OrderedJson::array({std::move(choice)});
  return dump_json(json);
}

std::string_view error_type(int status) {
  if (status == 404) return "NotFoundError";
  if (status == 429) return "RateLimitError";
  if (status == 409) return "ConflictError";
  return status < 500 ? "BadRequestError" : "InternalServerError";
}

}  // namespace

net::Response error_response(int status, std::string_view message) {
  const Json body = {
      {"error",
       {{"message", message}, {"type", error_type(status)}, {"param", nullptr}, {"code", status}}}};
  net::Response response = net::json_text_response(status, dump_json(body));
  if (status == 429 || status == 503) response.headers.set("Retry-After", "1");
  return response;
}

net::Response error_response(const Error& error) {
  int status = net::http_status_of(error.code);
  if (error.code == Code::kInvalid || error.code == Code::kCorrupt) status = 400;
  return error_response(status, error.message);
}

std::string answer_json(const AnswerHead& head, const std::vector<Choice>& choices,
                        const Usage& usage) {
  OrderedJson json = head_json(head, false);
  OrderedJson list = OrderedJson::array();
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Choice& choice = choices[i];
    OrderedJson one = {{"index", i}};
    if (head.chat)
      one["message"] = {{"role", "assistant"}, {"content", choice.text}};
    else
      one["text"] = choice.text;
    one["logprobs"] = logprobs_json(head, choice.tokens);
    one["finish_reason"] = finish_reason(choice.finish);
    list.push_back(std::move(one));
  }
  json["choices"] = std::move(list);
  json["usage"] = usage_json(usage);
  return dump_json(json);
}

std::string role_chunk(const AnswerHead& head) {
  return chunk_json(head, {{"index", 0},
                           {"delta", {{"role", "assistant"}, {"content", ""}}},
                           {"logprobs", nullptr},
                           {"finish_reason", nullptr}});
}

std::string piece_chunk(const AnswerHead& head, std::size_t index, const Progress& piece) {
  OrderedJson choice = {{"index", index}};
  if (head.chat)
    choice["delta"] = {{"content", piece.text}};
  else
    choice["text"] = piece.text;
  choice["logprobs"] = logprobs_json(head, piece.tokens);
  choice["finish_reason"] = nullptr;
  return chunk_json(head, std::move(choice));
}

std::string finish_chunk(const AnswerHead& head, std::size_t index, Finish finish) {
  OrderedJson choice = {{"index", index}};
  if (head.chat)
    choice["delta"] = OrderedJson::object();
  else
    choice["text"] = "";
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = finish_reason(finish);
  return chunk_json(head, std::move(choice));
}

std::string usage_chunk(const AnswerHead& head, const Usage& usage) {
  OrderedJson json = head_json(head, true);
  json["choices"] = OrderedJson::array();
  json["usage"] = usage_json(usage);
  return dump_json(json);
}

}  // namespace trimtab::serve
