#include "daemon/drivers/vllm_driver.h"

#include <algorithm>
#include <thread>

#include "base/json.h"
#include "daemon/drivers/routing_file.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kMessageBytes = 300;

std::string without_slash(std::string text) {
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

// A server's own words about an error: {"message"}, {"error": {"message"}}, {"detail"} or plain.
std::string words_of(const net::Response& answer) {
  const auto json = parse_json(answer.body);
  std::string text;
  if (json && json->is_object()) {
    text = json_or<std::string>(*json, "message", "");
    if (text.empty()) text = json_or<std::string>(*json, "detail", "");
    const auto error = json->find("error");
    if (text.empty() && error != json->end()) text = json_or<std::string>(*error, "message", "");
  }
  if (text.empty()) text = answer.body;
  text = text.substr(0, kMessageBytes);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return "answers " + std::to_string(answer.status) + ": " + text;
}

// Down, slow or overloaded: later. Everything else is a refusal.
CallOutcome outcome_of(int status) {
  const bool later = status >= 500 || status == 408 || status == 425 || status == 429;
  return later ? CallOutcome::kRetry : CallOutcome::kRefused;
}

const ServedModel* find_model(const EndpointState& state, const std::string& id) {
  const auto it = std::find_if(state.models.begin(), state.models.end(),
                               [&](const ServedModel& model) { return model.id == id; });
  return it == state.models.end() ? nullptr : &*it;
}

Result<std::vector<ServedModel>> parse_models(const std::string& body) {
  TRIMTAB_TRY(const auto json, parse_json(body));
  const auto data = json.is_object() ? json.find("data") : json.end();
  if (!json.is_object() || data == json.end() || !data->is_array()) {
    return fail(Code::kInvalid, "/v1/models has no list 'data'");
  }
  std::vector<ServedModel> models;
  for (const auto& entry : *data) {
    models.push_back({json_or<std::string>(entry, "id", ""),
                      json_or<std::string>(entry, "root", ""),
                      json_or<std::string>(entry, "parent", "")});
  }
  return models;
}

}  // namespace

std::string map_path(const std::vector<config::PathMap>& map, const std::string& path) {
  const config::PathMap* best = nullptr;
  for (const auto& entry : map) {
    const auto from = without_slash(entry.from);
    const bool whole = path.starts_with(from) &&
                       (path.size() == from.size() || path[from.size()] == '/' || from == "/");
    if (whole && (best == nullptr || from.size() > without_slash(best->from).size())) best = &entry;
  }
  if (best == nullptr) return path;
  const auto from = without_slash(best->from);
  return without_slash(best->to) + path.substr(from == "/" ? 0 : from.size());
}

VllmDriver::VllmDriver(config::ServingSettings settings, std::string routing_dir,
                       std::string base_name, std::string token, Clock& clock)
    : settings_(std::move(settings)),
      routing_dir_(std::move(routing_dir)),
      base_name_(std::move(base_name)),
      token_(std::move(token)),
      client_({.connect_ms = settings_.connect_timeout_ms,
               .silence_ms = std::max(settings_.load_timeout_ms, settings_.request_timeout_ms),
               .total_ms = settings_.request_timeout_ms},
              clock) {
  for (const auto& endpoint : settings_.endpoints) {
    const auto url = net::parse_url(endpoint.url);
    const std::string host = url ? url->host + ":" + std::to_string(url->port) : endpoint.url;
    endpoints_.push_back(
        {without_slash(endpoint.url), endpoint.name.empty() ? host : endpoint.name});
  }
}

// All endpoints at once: a load takes seconds, and a fleet may be long. At most 16 threads.
template <typename Call>
FleetResult VllmDriver::on_every_endpoint(Call&& call) {
  constexpr std::size_t kAtOnce = 16;
  FleetResult result;
  result.endpoints.resize(endpoints_.size());
  for (std::size_t first = 0; first < endpoints_.size(); first += kAtOnce) {
    const std::size_t last = std::min(endpoints_.size(), first + kAtOnce);
    std::vector<std::jthread> threads;
    for (std::size_t i = first + 1; i < last; ++i) {
      threads.emplace_back([&, i] { result.endpoints[i] = call(endpoints_[i]); });
    }
    result.endpoints[first] = call(endpoints_[first]);
  }
  return result;
}

Result<net::Response> VllmDriver::call(const Endpoint& endpoint, const char* method,
                                       const std::string& path, std::string body,
                                       std::int64_t total_ms) {
  net::ClientRequest request;
  request.method = method;
  request.url = endpoint.url + path;
  request.body = std::move(body);
  request.total_ms = request.first_byte_ms = total_ms;
  request.safe_to_repeat = true;  // every call of ours is idempotent
  if (!request.body.empty()) request.headers.set("Content-Type", "application/json");
  if (!token_.empty()) request.headers.set("Authorization", "Bearer " + token_);
  return client_.send(request);
}

EndpointState VllmDriver::ask(const Endpoint& endpoint) {
  EndpointState state;
  state.endpoint = endpoint.name;
  state.slots = settings_.max_loras;
  state.max_lora_rank = settings_.max_lora_rank;
  const auto answer = call(endpoint, "GET", "/v1/models", "", settings_.request_timeout_ms);
  if (!answer) {
    state.problem = answer.error().message;
    return state;
  }
  if (answer->status != 200) {
    state.problem = "/v1/models " + words_of(*answer);
    return state;
  }
  auto models = parse_models(answer->body);
  if (!models) {
    state.problem = models.error().message;
    return state;
  }
  state.models = std::move(*models);
  if (find_model(state, base_name_) == nullptr) {
    state.problem = "does not serve the base '" + base_name_ + "'; check serving.served_base_name";
    return state;
  }
  state.reachable = true;
  return state;
}

std::vector<EndpointState> VllmDriver::describe() {
  std::vector<EndpointState> states(endpoints_.size());
  static_cast<void>(on_every_endpoint([&](const Endpoint& endpoint) {
    states[static_cast<std::size_t>(&endpoint - endpoints_.data())] = ask(endpoint);
    return EndpointResult{};
  }));
  return states;
}

std::string VllmDriver::server_path(const shadow::AdapterRef& adapter) const {
  return adapter.bare_base() ? "" : map_path(settings_.path_map, without_slash(adapter.uri));
}

FleetResult VllmDriver::load(const shadow::AdapterRef& adapter) {
  return on_every_endpoint([&](const Endpoint& endpoint) { return load_on(endpoint, adapter); });
}

FleetResult VllmDriver::unload(const std::string& adapter_name) {
  return on_every_endpoint(
      [&](const Endpoint& endpoint) { return unload_on(endpoint, adapter_name); });
}

FleetResult VllmDriver::evict_impostor(const shadow::AdapterRef& adapter) {
  const std::string root = server_path(adapter);
  return on_every_endpoint([&](const Endpoint& endpoint) -> EndpointResult {
    const auto state = ask(endpoint);
    if (!state.reachable) return {endpoint.name, CallOutcome::kRetry, state.problem};
    const auto* model = find_model(state, adapter.name);
    if (model == nullptr || without_slash(model->root) == root) {
      return {endpoint.name, CallOutcome::kAlready, "no impostor"};
    }
    return unload_on(endpoint, adapter.name);
  });
}

FleetResult VllmDriver::warm_up(const shadow::AdapterRef& adapter) {
  return on_every_endpoint([&](const Endpoint& endpoint) { return warm_up_on(endpoint, adapter); });
}

// Asks before and after: what counts is what the server lists, not what it answered.
EndpointResult VllmDriver::load_on(const Endpoint& endpoint, const shadow::AdapterRef& adapter) {
  EndpointResult result{endpoint.name, CallOutcome::kAlready, "loaded already"};
  if (adapter.bare_base()) return result;
  const std::string root = server_path(adapter);
  const auto judge = [&](CallOutcome if_right) {
    const auto state = ask(endpoint);
    if (!state.reachable) {
      return EndpointResult{endpoint.name, CallOutcome::kRetry, state.problem};
    }
    const auto* model = find_model(state, adapter.name);
    if (model == nullptr) {
      return EndpointResult{endpoint.name, CallOutcome::kRefused, "does not list the adapter"};
    }
    if (without_slash(model->root) != root) {
      return EndpointResult{endpoint.name, CallOutcome::kConflict,
                            "lists the adapter with root '" + model->root + "' instead of '" +
                                root + "'; check serving.path_map"};
    }
    return EndpointResult{endpoint.name, if_right, "loaded"};
  };
  result = judge(CallOutcome::kAlready);
  if (result.outcome != CallOutcome::kRefused) return result;
  const Json body = {{"lora_name", adapter.name}, {"lora_path", root}};
  const auto answer =
      call(endpoint, "POST", "/v1/load_lora_adapter", dump_json(body), settings_.load_timeout_ms);
  if (!answer) return {endpoint.name, CallOutcome::kRetry, answer.error().message};
  if (answer->status != 200) {
    // "Already loaded" comes as 400, from a call of ours that raced or was cut off.
    const auto after = judge(CallOutcome::kAlready);
    if (after.outcome != CallOutcome::kRefused) return after;
    return {endpoint.name, outcome_of(answer->status), words_of(*answer)};
  }
  return judge(CallOutcome::kDone);
}

EndpointResult VllmDriver::unload_on(const Endpoint& endpoint, const std::string& adapter_name) {
  const Json body = {{"lora_name", adapter_name}};
  const auto answer = call(endpoint, "POST", "/v1/unload_lora_adapter", dump_json(body),
                           settings_.request_timeout_ms);
  if (!answer) return {endpoint.name, CallOutcome::kRetry, answer.error().message};
  if (answer->status == 200) return {endpoint.name, CallOutcome::kDone, "unloaded"};
  if (answer->status == 404) return {endpoint.name, CallOutcome::kAlready, "was not there"};
  const auto state = ask(endpoint);
  if (state.reachable && find_model(state, adapter_name) == nullptr) {
    return {endpoint.name, CallOutcome::kAlready, "was not there"};
  }
  return {endpoint.name, outcome_of(answer->status), words_of(*answer)};
}

EndpointResult VllmDriver::warm_up_on(const Endpoint& endpoint, const shadow::AdapterRef& adapter) {
  const std::string model = adapter.bare_base() ? base_name_ : adapter.name;
  const Json body = {{"model", model}, {"prompt", "."}, {"max_tokens", 1}, {"temperature", 0}};
  const auto answer =
      call(endpoint, "POST", "/v1/completions", dump_json(body), settings_.request_timeout_ms);
  if (!answer) return {endpoint.name, CallOutcome::kRetry, answer.error().message};
  if (answer->status != 200) {
    // A loaded adapter that is not found has been lost again: loading it again may help.
    const auto outcome = answer->status == 404 ? CallOutcome::kRetry : outcome_of(answer->status);
    return {endpoint.name, outcome, words_of(*answer)};
  }
  const auto json = parse_json(answer->body);
  const auto named = json ? json_or<std::string>(*json, "model", "") : "";
  if (named != model) {
    return {endpoint.name, CallOutcome::kConflict,
            "answered as '" + named + "' when asked for '" + model + "'"};
  }
  return {endpoint.name, CallOutcome::kDone, "answers"};
}

FleetResult VllmDriver::publish(const std::string& target, std::uint64_t generation,
                                const std::string& routing_json) {
  return {{publish_file(routing_dir_, target, generation, routing_json)}};
}

}  // namespace trimtab::daemon
