// Requests on the I/O thread: judged when the head is there, handed to a pool when they are whole,
// and refused here when they cannot be served.
#include <sys/epoll.h>

#include "base/log.h"
#include "base/net/server_state.h"

namespace trimtab::net {
namespace {

std::string_view host_without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

// "http://host/path" (absolute form) -> "/path".
std::string_view origin_form(std::string_view target) {
  if (!target.starts_with("http://") && !target.starts_with("https://")) return target;
  const auto slash = target.find('/', target.find("://") + 3);
  return slash == std::string_view::npos ? "/" : target.substr(slash);
}

}  // namespace

// Parses what is in `in`, as far as one request goes.
void Server::State::advance(Connection& connection) {
  if (connection.phase == Phase::kIdle) {
    connection.phase = Phase::kHead;
    connection.first_byte_ms = clock.mono_ms();
    connection.deadline_ms = connection.first_byte_ms + options.head_ms;
  }
  while (!connection.in.empty() && !connection.parser.done()) {
    const std::size_t before = connection.in.size();
    const bool had_head = connection.parser.head_done();
    auto status = connection.parser.parse(connection.in);
    if (!status) {
      return refuse(connection, connection.parser.error_status(), status.error().message);
    }
    if (!had_head && connection.parser.head_done()) {
      judge_head(connection);
      if (connection.phase != Phase::kBody) return;  // refused, or an inline answer
      continue;
    }
    if (connection.in.size() == before) break;
  }
  count_held(connection);
  if (held_bytes > options.held_limit_bytes && connection.phase == Phase::kBody) {
    return refuse(connection, 503, "too many bytes are being uploaded at once; try again",
                  {{"Retry-After", "1"}});
  }
  if (connection.parser.done()) return dispatch(connection);
  arm(connection, EPOLLIN);
}

// Everything that can be said before the body is read.
void Server::State::judge_head(Connection& connection) {
  Parser& parser = connection.parser;
  Request& request = connection.request;
  connection.phase = Phase::kBody;
  connection.deadline_ms = connection.first_byte_ms + options.request_ms;
  connection.http_1_0 = parser.http_1_0();
  ++connection.requests;
  connection.close_after = !parser.keep_alive() || stopping.load() ||
                           connection.requests >= options.requests_per_connection;
  request = {};
  request.method = std::move(parser.method());
  request.target = origin_form(parser.target());
  request.headers = std::move(parser.headers());
  request.peer = connection.peer;
  request.received_ms = clock.now_ms();
  request.received_mono_ms = clock.mono_ms();
  connection.head_only = request.method == "HEAD";
  auto refusal = judge_fields(connection);
  if (!refusal) refusal = find_route(connection);
  if (refusal) return refuse(connection, refusal->status, refusal->detail, refusal->extra);
  if (options.gate && connection.route->options.run != Run::kInline) {
    if (auto stopped = options.gate(request)) {
      return answer(connection, std::move(*stopped), !parser.done());
    }
  }
  const auto expect = request.headers.get("Expect");
  if (expect.empty() || parser.done()) return;
  if (!equals_ignoring_case(expect, "100-continue")) {
    return refuse(connection, 417, "only 100-continue can be expected");
  }
  // A few bytes into an empty buffer: what the socket does not take at once, nobody misses.
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  if (connection.transmit(kContinue).state == Io::kClosed) drop(connection);
}

std::optional<Refusal> Server::State::judge_fields(const Connection& connection) const {
  const auto& headers = connection.request.headers;
  if (headers.has("Transfer-Encoding") &&
      !equals_ignoring_case(headers.get("Transfer-Encoding"), "chunked")) {
    return Refusal{501, "the only transfer encoding spoken here is chunked", {}};
  }
  const std::size_t host_fields = headers.count("Host");
  if (host_fields > 1 || (host_fields == 0 && !connection.http_1_0)) {
    return Refusal{400, "exactly one Host header is needed", {}};
  }
  const auto host = host_without_port(headers.get("Host"));
  const bool known = std::any_of(options.hosts.begin(), options.hosts.end(), [&](const auto& name) {
    return equals_ignoring_case(host_without_port(name), host);
  });
  if (!options.hosts.empty() && !known) {
    return Refusal{421, "this server does not go by that Host; see allowed_hosts", {}};
  }
  const auto coding = headers.get("Content-Encoding");
  if (!coding.empty() && !equals_ignoring_case(coding, "identity")) {
    return Refusal{415, "send the body without Content-Encoding", {}};
  }
  return std::nullopt;
}

std::optional<Refusal> Server::State::find_route(Connection& connection) {
  Request& request = connection.request;
  const std::string_view target = request.target;
  request.path = target.substr(0, target.find('?'));
  auto query = parse_query(
      request.path.size() < target.size() ? target.substr(request.path.size() + 1) : "");
  if (!query) return Refusal{400, query.error().message, {}};
  auto match = router.match(request.method, request.path);
  if (!match) return Refusal{400, match.error().message, {}};
  request.query = std::move(*query);
  if (match->route == nullptr) {
    if (match->allow.empty()) return Refusal{404, "no such address", {}};
    return Refusal{405, "allowed here: " + match->allow, {{"Allow", match->allow}}};
  }
  connection.route = match->route;
  request.route = match->route->pattern;
  request.params = std::move(match->params);
  return std::nullopt;
}

void Server::State::dispatch(Connection& connection) {
  connection.request.body = std::move(connection.parser.body());
  const auto& route_options = connection.route->options;
  if (route_options.run == Run::kInline) return run_inline(connection);
  const bool waits = route_options.run == Run::kWaiting ||
                     (!route_options.waits_if_query.empty() &&
                      connection.request.has_query(route_options.waits_if_query));
  connection.phase = Phase::kBusy;
  Pool& pool = waits ? waiters : workers;
  if (pool.submit([this, &connection] { handle(connection); })) return;
  connection.phase = Phase::kBody;
  refuse(connection, 503,
         waits ? "too many clients are waiting for events; try again" : "busy; try again",
         {{"Retry-After", "1"}});
}

void Server::State::run_inline(Connection& connection) {
  Response response;
  try {
    response = connection.route->handler(connection.request);
  } catch (const std::exception& problem) {
    log::error("{}: {} failed: {}", options.name, connection.request.route, problem.what());
    response = error_response(500, "internal error; see the log");
  }
  answer(connection, std::move(response), false);
}

void Server::State::refuse(Connection& connection, int status, std::string_view detail,
                           const Headers& extra) {
  // After a message whose framing is in doubt, nothing on this connection can be trusted.
  if (status == 400 || status == 501) connection.close_after = true;
  Response response = error_response(status, detail);
  for (const auto& [name, value] : extra.fields()) response.headers.set(name, value);
  answer(connection, std::move(response), !connection.parser.done());
}

// From the I/O thread. With `unread_input` the connection cannot be used again.
void Server::State::answer(Connection& connection, Response response, bool unread_input) {
  connection.close_after = connection.close_after || unread_input || stopping.load();
  connection.linger_after = unread_input;
  connection.answered_status = response.status;
  connection.out = render(response, connection, !connection.close_after, clock.now_ms());
  connection.out_at = 0;
  connection.phase = Phase::kWriting;
  connection.deadline_ms = clock.mono_ms() + options.write_ms;
  connection.answer_deadline_ms = clock.mono_ms() + options.answer_ms;
  continue_writing(connection);
}

Response Server::State::error_response(int status, std::string_view detail) const {
  return options.error_body ? options.error_body(status, detail) : problem(status, detail);
}

void Server::State::count_held(Connection& connection) {
  const std::size_t now = connection.in.size() + connection.parser.body().size() +
                          connection.request.body.size() + connection.out.size();
  held_bytes += now - connection.held_bytes;
  connection.held_bytes = now;
}

void Server::State::observe(Connection& connection) {
  if (durations == nullptr || connection.answered_status == 0) return;
  const std::string route = connection.route != nullptr ? connection.route->pattern : "none";
  const double seconds = static_cast<double>(clock.mono_ms() - connection.first_byte_ms) / 1000.0;
  durations->with({route, std::to_string(connection.answered_status)}).observe(seconds);
  connection.answered_status = 0;
}

}  // namespace trimtab::net
