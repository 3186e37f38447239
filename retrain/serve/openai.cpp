#include "retrain/serve/openai.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/json.h"

namespace trimtab::serve {
namespace {

constexpr std::size_t kMaxPrompts = 64;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;

tl::unexpected<Error> bad(std::string_view key, std::string_view what) {
  return fail(Code::kInvalid, "'" + std::string(key) + "' " + std::string(what));
}

// The key's value, or null when absent or null.
const Json* given(const Json& body, const char* key) {
  const auto it = body.find(key);
  return it == body.end() || it->is_null() ? nullptr : &*it;
}

Result<double> number(const Json& body, const char* key, double fallback, double low, double high) {
  const Json* value = given(body, key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return bad(key, "must be a number");
  const double d = value->get<double>();
  if (!(d >= low && d <= high)) {
    return bad(key, "must lie between " + Json(low).dump() + " and " + Json(high).dump());
  }
  return d;
}

Result<std::optional<std::int64_t>> whole(const Json& body, const char* key, std::int64_t low,
                                          std::int64_t high) {
  const Json* value = given(body, key);
  if (value == nullptr) return std::optional<std::int64_t>();
  if (!value->is_number_integer()) return bad(key, "must be a whole number");
  if (value->is_number_unsigned() &&
      value->get<std::uint64_t>() > static_cast<std::uint64_t>(high)) {
    return bad(key, "must be at most " + std::to_string(high));
  }
  const auto i = value->get<std::int64_t>();
  if (i < low || i > high) {
    return bad(key, "must lie between " + std::to_string(low) + " and " + std::to_string(high));
  }
  return std::optional<std::int64_t>(i);
}

Result<bool> flag(const Json& body, const char* key, bool fallback) {
  const Json* value = given(body, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return bad(key, "must be true or false");
  return value->get<bool>();
}

Status read_stop(const Json& body, GenerationRequest& out) {
  if (const Json* stop = given(body, "stop")) {
    const Json list = stop->is_array() ? *stop : Json::array({*stop});
    if (list.size() > kMaxStops) return bad("stop", "has more than 16 texts");
    for (const auto& text : list) {
      if (!text.is_string() || text.get_ref<const std::string&>().size() > kMaxStopBytes) {
        return bad("stop", "must be a text of at most 1024 bytes, or a list of such");
      }
      if (!text.get_ref<const std::string&>().empty()) out.stop.push_back(text.get<std::string>());
    }
  }
  if (const Json* ids = given(body, "stop_token_ids")) {
    if (!ids->is_array() || ids->size() > 64)
      return bad("stop_token_ids", "must be a list of at most 64 ids");
    for (const auto& id : *ids) {
      if (!id.is_number_integer()) return bad("stop_token_ids", "must hold ids");
      out.stop_ids.push_back(id.get<model::TokenId>());
    }
  }
  return {};
}

// Parameters that would change the answer; at their neutral value they are welcome.
Status refuse_uncovered(const Json& body) {
  struct Neutral {
    const char* key;
    Json value;
  };
  static const std::array kNeutral = {Neutral{"n", 1},
                                      Neutral{"best_of", 1},
                                      Neutral{"presence_penalty", 0},
                                      Neutral{"frequency_penalty", 0},
                                      Neutral{"repetition_penalty", 1},
                                      Neutral{"min_p", 0},
                                      Neutral{"min_tokens", 0},
                                      Neutral{"echo", false},
                                      Neutral{"use_beam_search", false},
                                      Neutral{"skip_special_tokens", true},
                                      Neutral{"suffix", ""},
                                      Neutral{"continue_final_message", false},
                                      Neutral{"tool_choice", "none"},
                                      Neutral{"response_format", Json{{"type", "text"}}},
                                      Neutral{"logit_bias", Json::object()},
                                      Neutral{"tools", Json::array()},
                                      Neutral{"functions", Json::array()},
                                      Neutral{"function_call", "none"},
                                      Neutral{"guided_json", Json()},
                                      Neutral{"guided_regex", Json()},
                                      Neutral{"guided_choice", Json()},
                                      Neutral{"guided_grammar", Json()},
                                      Neutral{"structured_outputs", Json()},
                                      Neutral{"prompt_logprobs", Json()},
                                      Neutral{"audio", Json()},
                                      Neutral{"modalities", Json::array({"text"})}};
  for (const auto& [key, neutral] : kNeutral) {
    const Json* value = given(body, key);
    if (value == nullptr || *value == neutral) continue;
    return bad(key, "is not covered by this server; leave it out");
  }
  return {};
}

Status read_common(const Json& body, ApiRequest& out) {
  TRIMTAB_TRY(out.model, json_get<std::string>(body, "model"));
  TRIMTAB_CHECK_OK(refuse_uncovered(body));
  Sampling& sampling = out.generation.sampling;
  TRIMTAB_TRY(sampling.temperature, number(body, "temperature", 1.0, 0.0, 100.0));
  TRIMTAB_TRY(sampling.top_p, number(body, "top_p", 1.0, 1e-9, 1.0));
  TRIMTAB_TRY(const auto top_k, whole(body, "top_k", -1, 1'000'000));
  sampling.top_k = std::max<std::int64_t>(0, top_k.value_or(0));
  TRIMTAB_TRY(const auto seed, whole(body, "seed", std::numeric_limits<std::int64_t>::min(),
                                     std::numeric_limits<std::int64_t>::max()));
  if (seed) out.generation.seed = static_cast<std::uint64_t>(*seed);
  TRIMTAB_TRY(out.generation.ignore_eos, flag(body, "ignore_eos", false));
  TRIMTAB_CHECK_OK(read_stop(body, out.generation));
  TRIMTAB_TRY(out.stream, flag(body, "stream", false));
  if (const Json* options = given(body, "stream_options")) {
    if (!options->is_object()) return bad("stream_options", "must be an object");
    if (!out.stream) return bad("stream_options", "is allowed only with 'stream': true");
    TRIMTAB_TRY(out.include_usage, flag(*options, "include_usage", false));
  }
  TRIMTAB_TRY(out.max_tokens, whole(body, "max_tokens", 1, 1'000'000));
  return {};
}

Result<Json> parse_body(std::string_view body) {
  auto json = parse_json(body);
  if (!json) return fail(Code::kInvalid, "the body is not JSON: " + json.error().message);
  if (!json->is_object()) return fail(Code::kInvalid, "the body is no JSON object");
  return json;
}

// Texts stay texts; a list of parts becomes its texts with line breaks between, as vLLM does for
// templates that take texts.
Result<OrderedJson> plain_message(const OrderedJson& message) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
    return bad("messages", "must hold objects with 'role' and 'content'");
  }
  OrderedJson out = message;
  if (!out.contains("content") || out["content"].is_null()) {
    out["content"] = "";
    return out;
  }
  if (out["content"].is_string()) return out;
  if (!out["content"].is_array())
    return bad("messages", "have a 'content' that is neither text nor parts");
  std::string text;
  for (const auto& part : out["content"]) {
    if (!part.is_object() || part.value("type", "") != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      return bad("messages", "have a content part that is no text");
    }
    text += (text.empty() ? "" : "\n") + part["text"].get<std::string>();
  }
  out["content"] = text;
  return out;
}

Status read_prompt(const Json& prompt, ApiRequest& out) {
  const auto ids_of = [](const Json& list) {
    return std::all_of(list.begin(), list.end(),
                       [](const Json& id) { return id.is_number_integer(); });
  };
  if (prompt.is_string()) {
    out.prompts.push_back(prompt.get<std::string>());
    return {};
  }
  if (!prompt.is_array() || prompt.empty())
    return bad("prompt", "must be a text, token ids, or a list of either");
  if (ids_of(prompt)) {
    out.prompt_ids.push_back(prompt.get<model::TokenIds>());
    return {};
  }
  if (prompt.size() > kMaxPrompts) return bad("prompt", "has more than 64 entries");
  for (const auto& one : prompt) {
    if (one.is_string() && out.prompt_ids.empty()) {
      out.prompts.push_back(one.get<std::string>());
    } else if (one.is_array() && !one.empty() && ids_of(one) && out.prompts.empty()) {
      out.prompt_ids.push_back(one.get<model::TokenIds>());
    } else {
      return bad("prompt", "must be a text, token ids, or a list of either");
    }
  }
  return {};
}

}  // namespace

Result<ApiRequest> parse_chat(std::string_view body) {
  TRIMTAB_TRY(const Json json, parse_body(body));
  ApiRequest out;
  out.chat = true;
  TRIMTAB_CHECK_OK(read_common(json, out));
  TRIMTAB_TRY(const auto newer, whole(json, "max_completion_tokens", 1, 1'000'000));
  if (newer) out.max_tokens = newer;
  TRIMTAB_TRY(out.generation.sampling.logprobs, flag(json, "logprobs", false));
  TRIMTAB_TRY(const auto top, whole(json, "top_logprobs", 0, 20));
  if (top.value_or(0) > 0 && !out.generation.sampling.logprobs) {
    return bad("top_logprobs", "needs 'logprobs': true");
  }
  out.generation.sampling.top_logprobs = static_cast<int>(top.value_or(0));
  const OrderedJson ordered =
      OrderedJson::parse(body, nullptr, false);  // the order of keys matters
  const auto messages = ordered.find("messages");
  if (messages == ordered.end() || !messages->is_array() || messages->empty()) {
    return bad("messages", "must be a list of at least one message");
  }
  OrderedJson plain = OrderedJson::array();
  for (const auto& message : *messages) {
    TRIMTAB_TRY(OrderedJson one, plain_message(message));
    plain.push_back(std::move(one));
  }
  out.messages_json = dump_json(plain);
  OrderedJson variables = OrderedJson::object();
  if (given(json, "chat_template_kwargs")) {
    if (!json["chat_template_kwargs"].is_object())
      return bad("chat_template_kwargs", "must be an object");
    variables = ordered["chat_template_kwargs"];
  }
  TRIMTAB_TRY(const bool open, flag(json, "add_generation_prompt", true));
  variables["add_generation_prompt"] = open;
  out.template_json = dump_json(variables);
  return out;
}

Result<ApiRequest> parse_completion(std::string_view body) {
  TRIMTAB_TRY(const Json json, parse_body(body));
  ApiRequest out;
  TRIMTAB_CHECK_OK(read_common(json, out));
  if (!out.max_tokens) out.max_tokens = 16;
  TRIMTAB_TRY(out.add_special_tokens, flag(json, "add_special_tokens", true));
  TRIMTAB_TRY(const auto top, whole(json, "logprobs", 0, 20));
  out.generation.sampling.logprobs = top.has_value();
  out.generation.sampling.top_logprobs = static_cast<int>(top.value_or(0));
  const Json* prompt = given(json, "prompt");
  if (prompt == nullptr) return bad("prompt", "is missing");
  TRIMTAB_CHECK_OK(read_prompt(*prompt, out));
  if (out.stream && out.prompts.size() + out.prompt_ids.size() > 1) {
    return bad("prompt", "must be one text when 'stream' is true");
  }
  return out;
}

}  // namespace trimtab::serve
