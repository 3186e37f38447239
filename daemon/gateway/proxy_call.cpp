#include "daemon/gateway/proxy_call.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"

namespace trimtab::gateway {
namespace {

constexpr std::uint64_t kMirrorSeed = 0x6d69'7272'6f72ULL;  // "mirror"

std::string new_record_id() {
  std::array<std::uint8_t, 16> bytes{};
  const auto got = ::getrandom(bytes.data(), bytes.size(), 0);
  CHECK(got == static_cast<ssize_t>(bytes.size()), "getrandom gives 16 bytes at once");
  return "r-" + to_hex(bytes.data(), bytes.size());
}

std::string first_header(const net::Request& request, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    const auto value = request.headers.get(name);
    if (!value.empty()) return std::string(value);
  }
  return "";
}

// "00-<trace id>-<span id>-01"
std::string trace_of(const net::Request& request) {
  const auto parent = request.headers.get("traceparent");
  return parent.size() >= 35 && parent[2] == '-' ? std::string(parent.substr(3, 32)) : "";
}

// Client header fields that go on to the model server; everything else is ours or the hop's.
constexpr const char* kPassedOn[] = {"Accept",        "User-Agent", "X-Request-Id",
                                     "traceparent",   "tracestate", "OpenAI-Organization",
                                     "OpenAI-Project"};

bool is_event_stream(const net::Headers& headers) {
  return headers.get("Content-Type").starts_with("text/event-stream");
}

}  // namespace

ProxyCall::ProxyCall(std::shared_ptr<const Live> live, const Parts& parts,
                     const net::Request& request, net::ResponseWriter& writer, ApiKind kind)
    : live_(std::move(live)),
      parts_(parts),
      request_(request),
      writer_(writer),
      kind_(kind),
      capture_(static_cast<std::size_t>(live_->settings.records.max_record_bytes)) {
  facts_.id = new_record_id();
  facts_.ts_ms = request.received_ms;
  facts_.route = request.route;
  facts_.chat = kind == ApiKind::kChat;
  facts_.probe = request.headers.has("X-Trimtab-Probe");
}

void ProxyCall::run() {
  if (!read_request()) return;
  parts_.metrics.in_flight.with().add(1);
  assign();
  if (call_upstream()) {
    if (exchange_->status() == 200 && is_event_stream(exchange_->headers())) {
      pass_stream();
    } else {
      pass_whole();
    }
  }
  exchange_.reset();
  turn_.reset();
  count_and_record();
  mirror_to_candidate();
  parts_.metrics.in_flight.with().add(-1);
}

bool ProxyCall::read_request() {
  auto parsed = parse_openai_request(request_.body);
  if (!parsed) {
    refuse(400, parsed.error().message, "invalid_request_error", "invalid_body");
    return false;
  }
  openai_ = std::move(*parsed);
  const auto it = live_->targets.find(openai_.model);
  if (it == live_->targets.end()) {
    refuse(404, "The model `" + openai_.model + "` does not exist.", "invalid_request_error",
           "model_not_found");
    return false;
  }
  target_ = &it->second;
  facts_.target = it->first;
  facts_.stream = openai_.stream;
  const auto& unit = live_->settings.unit;
  facts_.session_id = first_header(request_, unit.session_headers);
  facts_.user_id = first_header(request_, unit.user_headers);
  if (facts_.user_id.empty()) facts_.user_id = openai_.user;
  if (!unit.tenant_header.empty()) facts_.tenant = request_.headers.get(unit.tenant_header);
  facts_.trace_id = trace_of(request_);
  return true;
}

// `unit_key`, else the next best: user, session, the request itself (STATISTICS.md section 9).
void ProxyCall::assign() {
  routing_ = live_->routing->current(facts_.target);
  if (!routing_) return;
  std::vector<std::string> order = {facts_.user_id, facts_.session_id};
  if (routing_->unit_key == "session_id") std::swap(order[0], order[1]);
  if (routing_->unit_key == "request") order.clear();
  order.push_back(facts_.id);
  const auto unit =
      std::find_if(order.begin(), order.end(), [](const auto& u) { return !u.empty(); });
  const auto& arm = routing_->assign(*unit, facts_.ts_ms);
  facts_.arm = arm.role;
  facts_.generation = routing_->generation;
  facts_.experiment = routing_->experiment;
  wanted_adapter_ = arm.adapter.name;
  parts_.metrics.arm_requests.with({facts_.target, arm.role}).add();
}

bool ProxyCall::call_upstream() {
  std::vector<std::string> adapters = {wanted_adapter_};
  const auto add = [&](const std::string& name) {
    if (std::find(adapters.begin(), adapters.end(), name) == adapters.end()) {
      adapters.push_back(name);
    }
  };
  if (routing_ && routing_->arm(shadow::kArmChampion) != nullptr) {
    add(routing_->arm(shadow::kArmChampion)->adapter.name);
  }
  add("");
  std::int64_t retries_left = live_->settings.retries;
  bool unreachable = false;
  for (const auto& adapter : adapters) {
    bool missing = false;  // some server answers, but does not have it
    std::vector<std::shared_ptr<Upstream>> tried;
    while (auto turn = target_->upstreams->pick(tried)) {
      tried.push_back(turn->get());
      const Try result = try_upstream(adapter, *turn);
      if (result == Try::kAnswered) {
        note_fallback();
        turn_ = std::move(*turn);
        return true;
      }
      if (result == Try::kFailed) return refuse_unanswered(false);
      if (result == Try::kMissing) {
        missing = true;
        continue;
      }
      unreachable = true;
      if (retries_left-- <= 0) break;
    }
    if (!missing) break;
  }
  return refuse_unanswered(!unreachable);
}

void ProxyCall::note_fallback() {
  if (asked_adapter_ == wanted_adapter_) return;
  facts_.fallback = "adapter_missing";
  parts_.metrics.fallbacks.with({facts_.target, facts_.fallback}).add();
}

bool ProxyCall::refuse_unanswered(bool all_missing) {
  if (facts_.status == kClientGone) {
    parts_.metrics.aborted.with({facts_.target, "client"}).add();
  } else if (facts_.status == 504) {
    refuse(504, "The model server did not answer in time.", "timeout_error", "upstream_timeout");
  } else if (all_missing) {
    refuse(502, "No model server knows the model; check served_base_name.", "server_error",
           "upstream_model_missing");
  } else {
    refuse(503, "No model server could be reached.", "server_error", "upstream_unavailable");
  }
  return false;
}

ProxyCall::Try ProxyCall::try_upstream(const std::string& adapter, const Upstreams::Turn& turn) {
  asked_adapter_ = adapter;
  facts_.upstream = turn->origin;
  upstream_began_ms_ = parts_.clock.mono_ms();
  auto started = parts_.client.start(upstream_request(adapter, *turn.get()));
  upstream_ms_ += parts_.clock.mono_ms() - upstream_began_ms_;
  if (!started) {
    if (writer_.client_gone()) {
      facts_.status = kClientGone;
      facts_.error = "client_gone";
      facts_.aborted = true;
      return Try::kFailed;
    }
    if (started.error().code == Code::kTimeout) {
      target_->upstreams->report_failure(*turn.get(), "timeout");
      facts_.status = 504;
      facts_.error = "upstream_timeout";
      return Try::kFailed;
    }
    target_->upstreams->report_failure(*turn.get(), "connect");
    log::debug("{}: {}", facts_.id, started.error().message);
    return Try::kNextServer;
  }
  exchange_ = std::move(*started);
  const int status = exchange_->status();
  if (status == 404 && kind_ != ApiKind::kOther) {
    target_->upstreams->report_failure(*turn.get(), "model_missing");
    while (auto rest = exchange_->read()) {  // so that the connection can be used again
      if (rest->empty()) break;
    }
    exchange_.reset();
    return Try::kMissing;
  }
  const bool other_left = target_->upstreams->size() > 1;
  if ((status == 502 || status == 503) && other_left) {
    target_->upstreams->report_failure(*turn.get(), "status");
    exchange_.reset();
    return Try::kNextServer;
  }
  return Try::kAnswered;
}

std::string ProxyCall::upstream_name(const std::string& adapter) const {
  return adapter.empty() ? target_->base_name : adapter;
}

net::ClientRequest ProxyCall::upstream_request(const std::string& adapter,
                                               const Upstream& upstream) {
  const auto& settings = live_->settings;
  net::ClientRequest call;
  call.method = "POST";
  call.url = upstream.url + request_.path;
  call.body = with_model(request_.body, openai_, upstream_name(adapter));
  call.headers.set("Content-Type", "application/json");
  for (const char* name : kPassedOn) {
    const auto value = request_.headers.get(name);
    if (!value.empty()) call.headers.set(name, value);
  }
  const auto authorization = request_.headers.get("Authorization");
  if (!target_->token.empty()) {
    call.headers.set("Authorization", "Bearer " + target_->token);
  } else if (live_->client_token.empty() && !authorization.empty()) {
    call.headers.set("Authorization", authorization);  // ours never leaves the gateway
  }
  call.headers.set("X-Trimtab-Id", facts_.id);
  call.connect_ms = settings.connect_timeout_ms;
  call.first_byte_ms = settings.first_byte_timeout_ms;
  call.silence_ms = settings.idle_timeout_ms;
  call.total_ms = settings.request_deadline_ms;
  call.safe_to_repeat = true;  // generating twice harms nobody, and no byte had come
  call.cancelled = [this] { return writer_.client_gone(); };
  return call;
}

void ProxyCall::mirror_to_candidate() {
  if (!routing_ || kind_ == ApiKind::kOther || facts_.status != 200 || facts_.probe) return;
  const auto* candidate = routing_->arm(shadow::kArmCandidate);
  if (candidate == nullptr || facts_.arm == shadow::kArmCandidate) return;
  // The request's id is drawn at random: its hash draws the share.
  const double share = static_cast<double>(candidate->mirror_ppm) / 1e6;
  if (routing_->expired(facts_.ts_ms) || stable_fraction(facts_.id, kMirrorSeed) >= share) return;
  auto turn = target_->upstreams->pick({});
  if (!turn) return;
  auto request = upstream_request(candidate->adapter.name, *turn->get());
  request.headers.set("X-Trimtab-Mirror", "1");
  parts_.mirror.offer({facts_.target, std::move(request), std::move(*turn), live_});
}

double ProxyCall::seconds_since_start() const {
  return static_cast<double>(parts_.clock.mono_ms() - request_.received_mono_ms) / 1000.0;
}

void ProxyCall::count_and_record() {
  facts_.latency_s = seconds_since_start();
  facts_.ts_end_ms = parts_.clock.now_ms();
  auto& metrics = parts_.metrics;
  metrics.requests.with({facts_.target, std::to_string(facts_.status)}).add();
  metrics.duration.with({facts_.target}).observe(facts_.latency_s);
  if (!facts_.stream && facts_.status == 200) {
    const double upstream_s = static_cast<double>(upstream_ms_) / 1000.0;
    metrics.overhead.with({facts_.target}).observe(std::max(0.0, facts_.latency_s - upstream_s));
  }
  if (kind_ == ApiKind::kOther || parts_.producer == nullptr) return;
  const auto& records = live_->settings.records;
  const std::string record = render_record(facts_, openai_, capture_.finish(), live_->instance,
                                           static_cast<std::size_t>(records.max_record_bytes));
  const bool queued = parts_.producer->send(records.topic, facts_.id, record);
  metrics.records.with({queued ? "queued" : "dropped"}).add();
}

}  // namespace trimtab::gateway
