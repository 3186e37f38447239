#include "daemon/gateway/gateway.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/net/server.h"
#include "daemon/gateway/live.h"
#include "daemon/gateway/proxy_call.h"

namespace trimtab::gateway {
namespace {

constexpr std::size_t kAnswerLimitBytes = 64 << 20;

Result<std::string> read_secret(const std::string& path) {
  if (path.empty()) return std::string();
  TRIMTAB_TRY(std::string text, read_file(path, 64 << 10));
  const auto end = text.find_last_not_of(" \t\r\n");
  text.erase(end == std::string::npos ? 0 : end + 1);
  if (text.empty()) return fail(Code::kInvalid, path + ": is empty; put the token into it");
  return text;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// Takes as long for a wrong token as for the right one.
bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^
                              static_cast<unsigned char>(b[b.empty() ? 0 : i % b.size()]));
  }
  return difference == 0;
}

std::string default_instance(const config::GatewaySettings& settings) {
  if (!settings.instance.empty()) return settings.instance;
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return std::string(name.data()) + ":" + std::to_string(settings.port);
}

net::Response openai_problem(int status, std::string_view detail) {
  return net::json_text_response(
      status, openai_error(detail, status < 500 ? "invalid_request_error" : "server_error",
                           std::to_string(status)));
}

}  // namespace

struct Gateway::State {
  State(config::GatewaySettings gateway_settings, Clock& gateway_clock)
      : clock(gateway_clock),
        first_settings(std::move(gateway_settings)),
        gateway_metrics(metrics),
        client({.total_ms = first_settings.request_deadline_ms,
                .body_limit_bytes = kAnswerLimitBytes,
                .idle_per_origin = static_cast<std::size_t>(first_settings.threads)},
               clock),
        mirror(client, gateway_metrics),
        parts{clock, client, gateway_metrics, nullptr, mirror} {
    add_process_metrics(metrics, "trimtab-gateway");
  }

  [[nodiscard]] std::shared_ptr<const Live> current() const {
    std::lock_guard lock(mutex);
    return live;
  }
  Result<std::shared_ptr<Live>> build(const config::GatewaySettings& settings);
  void swap_in(std::shared_ptr<Live> next);
  Status open_records();
  void make_servers();
  void add_api_routes();
  void add_health_routes();
  [[nodiscard]] net::Response models(const std::string& only) const;
  [[nodiscard]] net::Response ready() const;

  Clock& clock;
  const config::GatewaySettings first_settings;
  Metrics metrics;
  GatewayMetrics gateway_metrics;
  net::Client client;
  Mirror mirror;  // holds on to Live objects: ends before the client
  std::unique_ptr<daemon::KafkaProducer> producer;
  daemon::KafkaProducer::Counts counted;  // under expose_mutex
  std::mutex expose_mutex;
  Parts parts;
  mutable std::mutex mutex;
  std::shared_ptr<const Live> live;  // under mutex
  std::unique_ptr<net::Server> api;
  std::unique_ptr<net::Server> health;
};

Result<std::shared_ptr<Live>> Gateway::State::build(const config::GatewaySettings& settings) {
  auto next = std::make_shared<Live>();
  next->settings = settings;
  next->instance = default_instance(settings);
  TRIMTAB_TRY(next->client_token, read_secret(settings.client_token_file));
  if (next->client_token.empty() && !is_loopback(settings.host)) {
    return fail(Code::kInvalid, "host " + settings.host +
                                    " is not loopback: set client_token_file, or listen on "
                                    "127.0.0.1 behind something that authenticates");
  }
  RoutingFollower::Options routing{settings.routing, {}, next->instance, {}};
  // systemd's own folder for a unit's state.
  const char* state_folder = std::getenv("STATE_DIRECTORY");
  if (routing.routing.keep_dir.empty() && state_folder != nullptr) {
    routing.routing.keep_dir = state_folder;
  }
  TRIMTAB_TRY(routing.token, read_secret(settings.routing.token_file));
  for (const auto& target : settings.targets) {
    if (target.upstreams.empty()) {
      return fail(Code::kInvalid, "target '" + target.name + "' has no upstreams");
    }
    auto& added = next->targets[target.name];
    added.settings = target;
    added.base_name = target.served_base_name.empty() ? target.name : target.served_base_name;
    TRIMTAB_TRY(added.token, read_secret(target.token_file));
    added.upstreams = std::make_unique<Upstreams>(target.upstreams, settings.health_interval_ms,
                                                  client, clock, gateway_metrics);
    routing.targets.push_back(target.name);
  }
  next->routing =
      std::make_unique<RoutingFollower>(std::move(routing), client, clock, gateway_metrics);
  return next;
}

void Gateway::State::swap_in(std::shared_ptr<Live> next) {
  const auto old = current();
  if (old) next->routing->adopt(*old->routing);
  next->routing->start();
  std::lock_guard lock(mutex);
  live = std::move(next);
}

Status Gateway::State::open_records() {
  const auto& records = first_settings.records;
  if (!records.enabled) return {};
  daemon::KafkaProducerOptions options;
  options.connection = records.kafka;
  options.client_id = "trimtab-gateway";
  options.queue_messages = records.queue_records;
  options.max_message_bytes = records.max_record_bytes + (64LL << 10);
  auto opened = daemon::KafkaProducer::open(std::move(options));
  if (!opened) return fail_in("records.kafka", opened.error());
  producer = std::move(*opened);
  parts.producer = producer.get();
  metrics.before_expose([this] {
    std::lock_guard lock(expose_mutex);
    const auto now = producer->counts();
    auto& family = gateway_metrics.records;
    family.with({"delivered"}).add(static_cast<double>(now.delivered - counted.delivered));
    family.with({"failed"}).add(static_cast<double>(now.failed - counted.failed));
    counted = now;
  });
  return {};
}

void Gateway::State::make_servers() {
  net::ServerOptions options;
  options.name = "gateway";
  options.host = first_settings.host;
  options.port = static_cast<int>(first_settings.port);
  options.workers = static_cast<int>(first_settings.threads);
  options.queue = static_cast<std::size_t>(first_settings.queue_requests);
  options.waiting_max = 0;
  options.connections_max = 4096;
  options.header_limit_bytes = static_cast<std::size_t>(first_settings.max_header_bytes);
  options.body_limit_bytes = static_cast<std::size_t>(first_settings.max_body_bytes);
  options.drain_ms = first_settings.drain_ms;
  options.error_body = openai_problem;
  options.metrics = &metrics;
  // A page in a browser must not reach a loopback gateway under a name of its own.
  if (is_loopback(first_settings.host)) options.hosts = {first_settings.host};
  options.gate = [this](const net::Request& head) -> std::optional<net::Response> {
    const auto now = current();
    if (now->client_token.empty()) return std::nullopt;
    const auto given = head.headers.get("Authorization");
    if (given.starts_with("Bearer ") && same_secret(given.substr(7), now->client_token)) {
      return std::nullopt;
    }
    auto response = openai_problem(401, "a valid bearer token is needed");
    response.headers.set("WWW-Authenticate", "Bearer");
    return response;
  };
  api = std::make_unique<net::Server>(options, clock);
  add_api_routes();

  net::ServerOptions own;
  own.name = "gateway-health";
  own.host = first_settings.metrics.host;
  own.port = static_cast<int>(first_settings.metrics.port);
  own.workers = 1;
  own.body_limit_bytes = 4 << 10;
  health = std::make_unique<net::Server>(own, clock);
  add_health_routes();
}

void Gateway::State::add_api_routes() {
  const auto proxied = [this](const char* path, ApiKind kind) {
    api->stream("POST", path,
                [this, kind](const net::Request& request, net::ResponseWriter& writer) {
                  ProxyCall(current(), parts, request, writer, kind).run();
                });
  };
  proxied("/v1/chat/completions", ApiKind::kChat);
  proxied("/v1/completions", ApiKind::kCompletion);
  for (const char* path : {"/v1/embeddings", "/tokenize", "/detokenize"}) {
    proxied(path, ApiKind::kOther);
  }
  api->get("/v1/models", [this](const net::Request&) { return models(""); });
  api->get("/v1/models/{id}", [this](const net::Request& request) {
    return models(std::string(request.param("id")));
  });
  api->get("/health", [](const net::Request&) { return net::text_response(200, "ok\n"); },
           {.run = net::Run::kInline});
}

void Gateway::State::add_health_routes() {
  const net::RouteOptions at_once{.run = net::Run::kInline, .waits_if_query = {}};
  for (const char* path : {"/healthz", "/-/healthy"}) {
    health->get(
        path, [](const net::Request&) { return net::text_response(200, "ok\n"); }, at_once);
  }
  for (const char* path : {"/readyz", "/-/ready"}) {
    health->get(
        path, [this](const net::Request&) { return ready(); }, at_once);
  }
  health->get("/metrics", [this](const net::Request&) {
    return net::text_response(200, metrics.expose(), "text/plain; version=0.0.4; charset=utf-8");
  });
}

// The aliases, as models. `root` names who would answer most requests now.
net::Response Gateway::State::models(const std::string& only) const {
  const auto now = current();
  Json list = Json::array();
  for (const auto& [name, target] : now->targets) {
    if (!only.empty() && name != only) continue;
    const auto routing = now->routing->current(name);
    const auto* champion = routing ? routing->arm(shadow::kArmChampion) : nullptr;
    list.push_back(
        {{"id", name},
         {"object", "model"},
         {"created", 0},
         {"owned_by", "trimtab"},
         {"root", champion != nullptr && !champion->adapter.bare_base() ? champion->adapter.name
                                                                        : target.base_name}});
  }
  if (only.empty()) return net::json_response(200, {{"object", "list"}, {"data", list}});
  if (list.empty()) return openai_problem(404, "The model `" + only + "` does not exist.");
  return net::json_response(200, list.front());
}

net::Response Gateway::State::ready() const {
  const auto now = current();
  std::string missing;
  if (!now->routing->complete()) missing = "no routing document yet for every target\n";
  for (const auto& [name, target] : now->targets) {
    if (target.upstreams->healthy() == 0) missing += name + ": no healthy upstream\n";
  }
  return missing.empty() ? net::text_response(200, "ready\n") : net::text_response(503, missing);
}

Gateway::Gateway(std::unique_ptr<State> state) : state_(std::move(state)) {}
Gateway::~Gateway() { stop(); }

Result<std::unique_ptr<Gateway>> Gateway::create(config::GatewaySettings settings, Clock& clock) {
  auto state = std::make_unique<State>(std::move(settings), clock);
  TRIMTAB_TRY(auto live, state->build(state->first_settings));
  TRIMTAB_CHECK_OK(state->open_records());
  state->make_servers();
  state->live = std::move(live);
  state->gateway_metrics.reload_successful.with().set(1);
  return std::unique_ptr<Gateway>(new Gateway(std::move(state)));
}

Status Gateway::start() {
  TRIMTAB_CHECK_OK(state_->health->start());
  // Not const here: nobody else has it yet.
  std::const_pointer_cast<Live>(state_->live)->routing->start();
  return state_->api->start();
}

int Gateway::port() const { return state_->api->port(); }
int Gateway::metrics_port() const { return state_->health->port(); }

Status Gateway::reload(config::GatewaySettings settings) {
  auto next = state_->build(settings);
  state_->gateway_metrics.reload_successful.with().set(next ? 1 : 0);
  if (!next) return tl::unexpected<Error>(next.error());
  state_->swap_in(std::move(*next));
  return {};
}

void Gateway::stop() {
  if (!state_->api) return;
  state_->api->stop();
  if (state_->producer) {
    const auto flushed = state_->producer->flush(state_->first_settings.records.flush_ms);
    if (!flushed) log::warn("records lost at exit: {}", flushed.error().message);
  }
  state_->health->stop();
  {
    std::lock_guard lock(state_->mutex);
    state_->live.reset();
  }
  state_->api.reset();
}

}  // namespace trimtab::gateway
