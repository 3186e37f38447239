// Over 400 lines because all routes share one private State.
#include "retrain/serve/model_server.h"

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/net/server.h"
#include "retrain/model/chat_template.h"
#include "retrain/serve/adapters.h"
#include "retrain/serve/engine.h"
#include "retrain/serve/openai.h"

namespace trimtab::serve {
namespace {

constexpr std::int64_t kLookMs = 100;       // how often a waiting request looks at its client
constexpr std::int64_t kStuckMs = 120'000;  // a step that takes longer: /health says so
constexpr std::size_t kBodyBytes = 8 << 20;

// What one body asked for, on its way through the engine.
struct Job {
  ApiRequest request;
  AnswerHead head;
  std::vector<std::shared_ptr<Generation>> generations;
  Usage usage;
  std::int64_t begun_ms = 0;

  void cancel() const {
    for (const auto& generation : generations) generation->cancel();
  }
  void count_tokens() {
    usage.completion_tokens = 0;
    for (const auto& generation : generations) usage.completion_tokens += generation->produced();
  }
};

}  // namespace

struct ModelServer::State {
  State(const ModelServerOptions& o, Clock& c) : options(o), clock(c) {}

  ModelServerOptions options;
  Clock& clock;
  Metrics metrics;
  std::shared_ptr<const model::Decoder> decoder;
  std::optional<model::Tokenizer> tokenizer;
  std::optional<model::ChatTemplate> chat;
  std::unique_ptr<AdapterTable> adapters;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<net::Server> server;
  std::int64_t started_s = 0;
  std::atomic<std::uint64_t> count = 0;
  std::mutex health_mutex;
  std::uint64_t health_steps = 0;
  std::int64_t health_since_ms = 0;

  Family<Counter>* requests = nullptr;
  Histogram* duration = nullptr;
  Histogram* first_token = nullptr;

  void declare_metrics();
  Status load();
  void add_routes();

  Result<model::TokenIds> chat_prompt(const ApiRequest& request) const;
  Result<Job> make_job(ApiRequest request);
  void answer(const net::Request& request, net::ResponseWriter& writer, bool is_chat);
  void answer_whole(Job& job, net::ResponseWriter& writer);
  void answer_stream(Job& job, net::ResponseWriter& writer);
  void count_request(const std::string& model, std::string_view outcome, std::int64_t begun_ms);

  net::Response models() const;
  net::Response load_adapter(const net::Request& request);
  net::Response unload_adapter(const net::Request& request);
  net::Response health();
};

void ModelServer::State::declare_metrics() {
  add_process_metrics(metrics, "trimtab-worker");
  requests =
      &metrics.counter("trimtab_serve_requests_total", "Completion requests by model and outcome.",
                       {"model", "outcome"}, 200);
  duration = &metrics
                  .histogram("trimtab_serve_request_duration_seconds",
                             "Completion requests, received to answered.",
                             {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})
                  .with();
  first_token = &metrics
                     .histogram("trimtab_serve_time_to_first_token_seconds",
                                "Streamed requests, received to first text.",
                                {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})
                     .with();
  auto& loaded =
      metrics.gauge("trimtab_serve_adapters_loaded", "Adapters the server holds.").with();
  auto& generation =
      metrics.gauge("trimtab_serve_adapter_generation", "Counts loads and unloads.").with();
  metrics.before_expose([this, &loaded, &generation] {
    loaded.set(static_cast<double>(adapters->list().size()));
    generation.set(static_cast<double>(adapters->generation()));
  });
}

Status ModelServer::State::load() {
  model::LoadOptions how;
  how.dtype = options.dtype;
  how.device = options.device;
  TRIMTAB_TRY(decoder, model::Decoder::load(options.base, how));
  TRIMTAB_TRY(tokenizer, model::Tokenizer::load(options.base));
  if (tokenizer->vocab_size() > decoder->config().vocab) {
    return fail(
        Code::kInvalid,
        fmt::format("{}: the tokenizer has ids up to {}, the model a vocabulary of {}",
                    options.base.string(), tokenizer->vocab_size() - 1, decoder->config().vocab));
  }
  TRIMTAB_TRY(const auto special, model::load_special_tokens(options.base, *tokenizer));
  auto template_or = model::ChatTemplate::load(options.base);
  if (template_or)
    chat = std::move(*template_or);
  else if (template_or.error().code != Code::kNotFound)
    return tl::unexpected<Error>(template_or.error());
  if (options.served_model_name.empty()) options.served_model_name = options.base.string();
  adapters = std::make_unique<AdapterTable>(
      decoder, options.served_model_name,
      AdapterLimits{static_cast<std::size_t>(options.max_loras), options.max_lora_rank});
  for (const auto& [name, path] : options.adapters) {
    TRIMTAB_CHECK_OK(adapters->load(name, path, clock.now_ms() / 1000));
  }
  EngineOptions engine_options;
  engine_options.max_batch = static_cast<std::size_t>(options.max_batch);
  engine_options.queue = static_cast<std::size_t>(options.queue);
  engine_options.max_context = options.max_model_len;
  engine_options.threads = options.threads;
  engine_options.seed = static_cast<std::uint64_t>(clock.now_ms());
  declare_metrics();
  engine = std::make_unique<Engine>(decoder, *tokenizer, special.stop_ids, engine_options, metrics);
  return {};
}

void ModelServer::State::add_routes() {
  net::ServerOptions http;
  http.name = "serve";
  http.host = options.host;
  http.port = options.port;
  // A thread for every request that the engine may hold, some for those it refuses and for the
  // rest.
  http.workers = std::min(512, options.max_batch + options.queue + 8);
  http.queue = 256;
  http.body_limit_bytes = kBodyBytes;
  http.metrics = &metrics;
  http.error_body = [](int status, std::string_view detail) {
    return error_response(status, detail);
  };
  server = std::make_unique<net::Server>(http, clock);
  const net::RouteOptions at_once{.run = net::Run::kInline, .waits_if_query = {}};
  server->get(
      "/health", [this](const net::Request&) { return health(); }, at_once);
  server->get(
      "/metrics",
      [this](const net::Request&) {
        return net::text_response(200, metrics.expose(),
                                  "text/plain; version=0.0.4; charset=utf-8");
      },
      at_once);
  server->get(
      "/v1/models", [this](const net::Request&) { return models(); }, at_once);
  server->post("/v1/load_lora_adapter", [this](const net::Request& r) { return load_adapter(r); });
  server->post("/v1/unload_lora_adapter",
               [this](const net::Request& r) { return unload_adapter(r); });
  server->stream("POST", "/v1/chat/completions",
                 [this](const net::Request& r, net::ResponseWriter& w) { answer(r, w, true); });
  server->stream("POST", "/v1/completions",
                 [this](const net::Request& r, net::ResponseWriter& w) { answer(r, w, false); });
}

Result<model::TokenIds> ModelServer::State::chat_prompt(const ApiRequest& request) const {
  if (!chat) {
    return fail(Code::kInvalid,
                "this base has no chat template; use /v1/completions, or add chat_template.jinja");
  }
  const OrderedJson messages = OrderedJson::parse(request.messages_json, nullptr, false);
  const OrderedJson variables = OrderedJson::parse(request.template_json, nullptr, false);
  TRIMTAB_TRY(const std::string text, chat->render(messages, variables));
  return tokenizer->encode(text, false);  // the template writes its own BOS
}

Result<Job> ModelServer::State::make_job(ApiRequest request) {
  Job job;
  std::shared_ptr<const ServedAdapter> adapter;
  if (request.model != options.served_model_name) {
    adapter = adapters->find(request.model);
    if (!adapter) return fail(Code::kNotFound, "The model `" + request.model + "` does not exist.");
  }
  job.head.created_s = clock.now_ms() / 1000;
  job.head.id = fmt::format("{}-{:x}-{}", request.chat ? "chatcmpl" : "cmpl", started_s, ++count);
  job.head.model = request.model;
  job.head.chat = request.chat;
  job.head.logprobs = request.generation.sampling.logprobs;
  std::vector<model::TokenIds> prompts = request.prompt_ids;
  if (request.chat) {
    TRIMTAB_TRY(auto ids, chat_prompt(request));
    prompts.push_back(std::move(ids));
  }
  for (const auto& text : request.prompts) {
    TRIMTAB_TRY(auto ids, tokenizer->encode(text, request.add_special_tokens));
    prompts.push_back(std::move(ids));
  }
  for (auto& prompt : prompts) {
    job.usage.prompt_tokens += static_cast<std::int64_t>(prompt.size());
    GenerationRequest one = request.generation;
    const std::int64_t room = engine->max_context() - static_cast<std::int64_t>(prompt.size());
    one.max_tokens = request.max_tokens.value_or(std::max<std::int64_t>(1, room));
    one.prompt = std::move(prompt);
    one.adapter = adapter;
    auto generation = engine->submit(std::move(one));
    if (!generation) {
      job.cancel();
      return tl::unexpected<Error>(generation.error());
    }
    job.generations.push_back(std::move(*generation));
  }
  job.request = std::move(request);
  return job;
}

void ModelServer::State::count_request(const std::string& model, std::string_view outcome,
                                       std::int64_t begun_ms) {
  requests->with({model, std::string(outcome)}).add();
  duration->observe(static_cast<double>(clock.mono_ms() - begun_ms) / 1000.0);
}

void ModelServer::State::answer(const net::Request& request, net::ResponseWriter& writer,
                                bool is_chat) {
  auto parsed = is_chat ? parse_chat(request.body) : parse_completion(request.body);
  auto job = parsed ? make_job(std::move(*parsed)) : tl::unexpected<Error>(parsed.error());
  if (!job) {
    // The model's name is the client's own text here: no label of its own.
    const Code code = job.error().code;
    count_request("",
                  code == Code::kExhausted  ? "overloaded"
                  : code == Code::kNotFound ? "unknown_model"
                                            : "bad_request",
                  request.received_mono_ms);
    writer.send(error_response(job.error()));
    return;
  }
  job->begun_ms = request.received_mono_ms;
  if (job->request.stream)
    answer_stream(*job, writer);
  else
    answer_whole(*job, writer);
}

void ModelServer::State::answer_whole(Job& job, net::ResponseWriter& writer) {
  std::vector<Choice> choices;
  for (const auto& generation : job.generations) {
    Progress progress = generation->take(kLookMs, true);
    while (progress.finish == Finish::kNone) {
      if (writer.client_gone()) job.cancel();
      progress = generation->take(kLookMs, true);
    }
    if (progress.finish == Finish::kCancelled || progress.finish == Finish::kError) {
      job.cancel();
      const bool error = progress.finish == Finish::kError;
      count_request(job.head.model, error ? "error" : "cancelled", job.begun_ms);
      writer.send(error ? error_response(500, progress.error)
                        : error_response(503, "the server is stopping"));
      return;
    }
    choices.push_back({std::move(progress.text), std::move(progress.tokens), progress.finish});
  }
  job.count_tokens();
  writer.send(net::json_text_response(200, answer_json(job.head, choices, job.usage)));
  count_request(job.head.model, "ok", job.begun_ms);
}

void ModelServer::State::answer_stream(Job& job, net::ResponseWriter& writer) {
  net::SseWriter sse(writer);
  bool open = writer.begun() && (!job.head.chat || sse.event("", role_chunk(job.head)));
  bool first = true;
  Generation& generation = *job.generations.front();
  Progress progress;
  while (progress.finish == Finish::kNone) {
    progress = generation.take(kLookMs, false);
    if (!progress.text.empty() || !progress.tokens.empty()) {
      if (std::exchange(first, false)) {
        first_token->observe(static_cast<double>(clock.mono_ms() - job.begun_ms) / 1000.0);
      }
      open = open && sse.event("", piece_chunk(job.head, 0, progress));
    } else if (open && progress.finish == Finish::kNone && writer.client_gone()) {
      open = false;
    }
    if (!open) generation.cancel();
  }
  job.count_tokens();
  if (progress.finish == Finish::kError && open) {
    sse.event("", dump_json(Json{{"error", {{"message", progress.error}, {"code", 500}}}}));
  }
  const bool whole =
      open && (progress.finish == Finish::kStop || progress.finish == Finish::kLength) &&
      sse.event("", finish_chunk(job.head, 0, progress.finish)) &&
      (!job.request.include_usage || sse.event("", usage_chunk(job.head, job.usage))) &&
      sse.event("", "[DONE]") && writer.end();
  count_request(job.head.model,
                whole                               ? "ok"
                : progress.finish == Finish::kError ? "error"
                                                    : "cancelled",
                job.begun_ms);
}

net::Response ModelServer::State::models() const {
  OrderedJson list = OrderedJson::array();
  list.push_back({{"id", options.served_model_name},
                  {"object", "model"},
                  {"created", started_s},
                  {"owned_by", "trimtab"},
                  {"root", options.base.string()},
                  {"parent", nullptr},
                  {"max_model_len", engine->max_context()}});
  const std::uint64_t generation = adapters->generation();
  for (const auto& adapter : adapters->list()) {
    list.push_back({{"id", adapter->name},
                    {"object", "model"},
                    {"created", adapter->created_s},
                    {"owned_by", "trimtab"},
                    {"root", adapter->root},
                    {"parent", options.served_model_name},
                    {"max_model_len", nullptr},
                    {"sha256", adapter->sha256}});
  }
  const OrderedJson json = {{"object", "list"}, {"data", list}, {"generation", generation}};
  return net::json_text_response(200, dump_json(json));
}

namespace {

struct AdapterCall {
  std::string name;
  std::string path;
  std::optional<std::uint64_t> generation;
};

// vLLM's texts for missing fields.
Result<AdapterCall> read_call(std::string_view body, bool with_path) {
  const auto json = parse_json(body);
  AdapterCall call;
  if (json && json->is_object()) {
    call.name = json_or<std::string>(*json, "lora_name", "");
    call.path = json_or<std::string>(*json, "lora_path", "");
    if (json->contains("generation")) {
      TRIMTAB_TRY(call.generation, json_get<std::uint64_t>(*json, "generation"));
    }
  }
  if (with_path && (call.name.empty() || call.path.empty())) {
    return fail(Code::kInvalid, "Both 'lora_name' and 'lora_path' must be provided.");
  }
  if (call.name.empty()) {
    return fail(Code::kInvalid, "'lora_name' needs to be provided to unload a LoRA adapter.");
  }
  return call;
}

net::Response stamped(net::Response response, std::uint64_t generation) {
  response.headers.set("X-Trimtab-Generation", std::to_string(generation));
  return response;
}

// A full table will not empty itself: 400, not 429.
net::Response adapter_error(const Error& error) {
  return error.code == Code::kExhausted ? error_response(400, error.message)
                                        : error_response(error);
}

}  // namespace

net::Response ModelServer::State::load_adapter(const net::Request& request) {
  const auto call = read_call(request.body, true);
  if (!call) return error_response(call.error());
  const Status loaded =
      adapters->load(call->name, call->path, clock.now_ms() / 1000, call->generation);
  if (!loaded) {
    log::warn("adapter {} not loaded: {}", call->name, loaded.error().message);
    return stamped(adapter_error(loaded.error()), adapters->generation());
  }
  log::info("adapter {} loaded from {}", call->name, call->path);
  return stamped(
      net::text_response(200, "Success: LoRA adapter '" + call->name + "' added successfully."),
      adapters->generation());
}

net::Response ModelServer::State::unload_adapter(const net::Request& request) {
  const auto call = read_call(request.body, false);
  if (!call) return error_response(call.error());
  const Status unloaded = adapters->unload(call->name, call->generation);
  if (!unloaded) return stamped(adapter_error(unloaded.error()), adapters->generation());
  log::info("adapter {} unloaded", call->name);
  return stamped(
      net::text_response(200, "Success: LoRA adapter '" + call->name + "' removed successfully."),
      adapters->generation());
}

net::Response ModelServer::State::health() {
  std::lock_guard lock(health_mutex);
  const std::int64_t now = clock.mono_ms();
  if (engine->steps() != health_steps || engine->running() == 0) {
    health_steps = engine->steps();
    health_since_ms = now;
  }
  if (now - health_since_ms > kStuckMs) return error_response(503, "the engine makes no progress");
  return net::text_response(200, "");
}

ModelServer::ModelServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelServer::~ModelServer() { stop(); }

Result<std::unique_ptr<ModelServer>> ModelServer::create(const ModelServerOptions& options,
                                                         Clock& clock) {
  auto state = std::make_unique<State>(options, clock);
  state->started_s = clock.now_ms() / 1000;
  TRIMTAB_CHECK_OK(state->load());
  state->add_routes();
  return std::unique_ptr<ModelServer>(new ModelServer(std::move(state)));
}

Status ModelServer::start() { return state_->server->start(); }
int ModelServer::port() const { return state_->server->port(); }
void ModelServer::stop() {
  if (state_->server) state_->server->stop();
  if (state_->engine) state_->engine->stop();
}

}  // namespace trimtab::serve
