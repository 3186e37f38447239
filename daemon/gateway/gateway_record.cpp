#include "daemon/gateway/gateway_record.h"

#include <algorithm>

#include "base/clock.h"
#include "base/json.h"

namespace trimtab::gateway {
namespace {

// At most `limit` bytes, never in the middle of a UTF-8 character.
std::string cut(const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  return text.substr(0, limit);
}

// Sampling settings that explain an answer; prompts are elsewhere, keys and users never here.
constexpr const char* kKeptSettings[] = {"temperature",           "top_p", "max_tokens",
                                         "max_completion_tokens", "n",     "seed"};

Json output_of(const Answer& answer) {
  if (answer.tool_calls.empty()) return answer.text;
  Json message = {{"role", "assistant"}, {"content", answer.text}};
  Json calls = Json::array();
  for (const auto& call : answer.tool_calls) {
    calls.push_back({{"id", call.id},
                     {"type", "function"},
                     {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  message["tool_calls"] = std::move(calls);
  return message;
}

// messages, or the one prompt text; nullopt for token ids and batches of prompts.
std::optional<Json> input_of(const ExchangeFacts& facts, const Json& body) {
  if (facts.chat) {
    const auto it = body.find("messages");
    if (it == body.end() || !it->is_array()) return std::nullopt;
    return *it;
  }
  const auto it = body.find("prompt");
  if (it == body.end()) return std::nullopt;
  if (it->is_string()) return *it;
  if (it->is_array() && it->size() == 1 && it->front().is_string()) return it->front();
  return std::nullopt;
}

// Keeps the last turns that fit; cuts the last one's text if even that is too long.
Json cut_input(const Json& input, std::size_t limit) {
  if (input.is_string()) return cut(input.get<std::string>(), limit);
  Json kept = Json::array();
  std::size_t used = 0;
  for (auto it = input.rbegin(); it != input.rend(); ++it) {
    const std::size_t size = dump_json(*it).size();
    if (used + size <= limit) {
      kept.insert(kept.begin(), *it);
      used += size;
      continue;
    }
    if (kept.empty() && it->is_object()) {
      const auto content = json_or<std::string>(*it, "content", "");
      kept.push_back(
          {{"role", json_or<std::string>(*it, "role", "user")}, {"content", cut(content, limit)}});
    }
    break;
  }
  return kept;
}

void add_text(OrderedJson& record, const char* key, const std::string& value) {
  if (!value.empty()) record[key] = value;
}

void add_routing(OrderedJson& record, const ExchangeFacts& facts) {
  if (facts.served_adapter) {
    if (facts.served_adapter->empty()) {
      record["adapter"] = nullptr;
    } else {
      record["adapter"] = *facts.served_adapter;
    }
  }
  if (facts.arm.empty()) return;
  record["arm"] = facts.arm;
  record["generation"] = facts.generation;
  add_text(record, "experiment", facts.experiment);
}

void add_tokens(OrderedJson& record, const Answer& answer) {
  OrderedJson tok;
  if (answer.tok_in) tok["in"] = *answer.tok_in;
  if (answer.tok_out) tok["out"] = *answer.tok_out;
  if (answer.tok_cached) tok["cache_r"] = *answer.tok_cached;
  if (answer.tok_reasoning) tok["reason"] = *answer.tok_reasoning;
  if (!tok.empty()) record["tok"] = std::move(tok);
}

OrderedJson attributes_of(const ExchangeFacts& facts, const Json& body, const std::string& instance,
                          const Answer& answer) {
  OrderedJson attributes;
  add_text(attributes, "gateway", instance);
  add_text(attributes, "upstream", facts.upstream);
  add_text(attributes, "upstream_id", answer.id);
  add_text(attributes, "fallback", facts.fallback);
  attributes["stream"] = facts.stream;
  for (const char* key : kKeptSettings) {
    const auto it = body.find(key);
    if (it != body.end() && it->is_number()) attributes[key] = *it;
  }
  if (answer.truncated) attributes["truncated"] = true;
  return attributes;
}

}  // namespace

std::string render_record(const ExchangeFacts& facts, const OpenAiRequest& request,
                          const Answer& answer, const std::string& instance,
                          std::size_t max_bytes) {
  OrderedJson record;
  record["kind"] = "inference";
  record["schema"] = 1;
  record["id"] = facts.id;
  record["ts"] = format_rfc3339(facts.ts_ms);
  record["ts_end"] = format_rfc3339(facts.ts_end_ms);
  record["target"] = facts.target;
  add_text(record, "user_id", facts.user_id);
  add_text(record, "session_id", facts.session_id);
  add_text(record, "trace_id", facts.trace_id);
  add_text(record, "tenant", facts.tenant);
  add_text(record, "route", facts.route);
  record["model_req"] = request.model;
  add_text(record, "model", answer.model);
  record["op"] = facts.probe ? "probe" : facts.chat ? "chat" : "text_completion";
  add_routing(record, facts);
  const auto input = input_of(facts, *request.body);
  if (input) record["input"] = *input;
  if (answer.understood) record["output"] = output_of(answer);
  add_tokens(record, answer);
  record["latency_s"] = facts.latency_s;
  if (facts.ttft_s) record["ttft_s"] = *facts.ttft_s;
  if (answer.mean_logprob) record["mean_logprob"] = *answer.mean_logprob;
  add_text(record, "finish", facts.aborted ? "aborted" : answer.finish);
  record["status"] = std::to_string(facts.status);
  add_text(record, "error", facts.error.empty() ? answer.error : facts.error);
  record["attributes"] = attributes_of(facts, *request.body, instance, answer);
  std::string text = dump_json(record);
  if (text.size() <= max_bytes) return text;
  record["attributes"]["truncated"] = true;
  // Escaping may double a text: a third each leaves room for the rest.
  if (input) record["input"] = cut_input(*input, max_bytes / 3);
  if (answer.understood) record["output"] = cut(answer.text, max_bytes / 3);
  return dump_json(record);
}

}  // namespace trimtab::gateway
