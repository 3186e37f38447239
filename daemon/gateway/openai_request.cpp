#include "daemon/gateway/openai_request.h"

#include "base/json.h"

namespace trimtab::gateway {
namespace {

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() &&
         (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) {
    ++at;
  }
  return at;
}

// Past the string that begins at `at`.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// Past any value. The text is known to be valid JSON.
std::size_t skip_value(std::string_view text, std::size_t at) {
  if (text[at] == '"') return skip_string(text, at);
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}' || c == ']')) return at;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') {
      --depth;
      if (depth == 0) return at + 1;
    }
    ++at;
  }
  return at;
}

// Where the top-level value of "model" lies. kInvalid when the key comes twice: two readers of such
// a body might see two models.
Status find_model(std::string_view text, OpenAiRequest& request) {
  int seen = 0;
  std::size_t at = skip_space(text, 0) + 1;
  for (;;) {
    at = skip_space(text, at);
    if (at >= text.size() || text[at] == '}') break;
    const std::size_t key_at = at;
    at = skip_string(text, at);
    const auto raw_key = text.substr(key_at, at - key_at);
    at = skip_space(text, skip_space(text, at) + 1);  // past ':'
    const std::size_t value_at = at;
    at = skip_value(text, at);
    // An escaped spelling of the key is the same key; parse it only if it could be.
    const bool is_model = raw_key == "\"model\"" || (raw_key.find('\\') != std::string_view::npos &&
                                                     *parse_json(raw_key) == Json("model"));
    if (is_model) {
      ++seen;
      request.model_at = value_at;
      request.model_size = at - value_at;
      while (request.model_size > 0 && text[value_at + request.model_size - 1] != '"') {
        --request.model_size;
      }
    }
    at = skip_space(text, at);
    if (at < text.size() && text[at] == ',') ++at;
  }
  if (seen != 1) return fail(Code::kInvalid, "'model' must stand once in the body");
  return {};
}

}  // namespace

Result<OpenAiRequest> parse_openai_request(std::string_view body) {
  auto json = parse_json(body);
  if (!json) return fail_in("body", json.error());
  if (!json->is_object()) return fail(Code::kInvalid, "the body must be a JSON object");
  OpenAiRequest request;
  auto model = json_get<std::string>(*json, "model");
  if (!model) return tl::unexpected<Error>(model.error());
  request.model = std::move(*model);
  TRIMTAB_CHECK_OK(find_model(body, request));
  const auto stream = json->find("stream");
  if (stream != json->end() && !stream->is_null()) {
    if (!stream->is_boolean()) return fail(Code::kInvalid, "'stream' must be true or false");
    request.stream = stream->get<bool>();
  }
  request.user = json_or<std::string>(*json, "user", "");
  request.body = std::make_shared<const Json>(std::move(*json));
  return request;
}

std::string with_model(std::string_view body, const OpenAiRequest& request, std::string_view name) {
  std::string out;
  out.reserve(body.size() + name.size());
  out.append(body.substr(0, request.model_at));
  out += dump_json(Json(std::string(name)));
  out.append(body.substr(request.model_at + request.model_size));
  return out;
}

std::string openai_error(std::string_view message, std::string_view type, std::string_view code) {
  OrderedJson error;
  error["message"] = message;
  error["type"] = type;
  error["param"] = nullptr;
  error["code"] = code;
  OrderedJson body;
  body["error"] = std::move(error);
  return dump_json(body);
}

}  // namespace trimtab::gateway
