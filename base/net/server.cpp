// The I/O thread: it owns the listening socket and every connection that no handler has. It reads
// requests until they are whole, judges heads, hands complete requests to the pools, finishes
// writing answers to slow clients, and closes what exceeds a deadline.
#include "base/net/server.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/check.h"
#include "base/log.h"
#include "base/net/connection.h"
#include "base/net/pool.h"

namespace trimtab::net {
namespace {

constexpr int kTickMs = 100;
constexpr int kAcceptsPerPass = 64;
constexpr std::size_t kReadPiece = 64 << 10;
constexpr std::size_t kLingerBytes = 1 << 20;
constexpr std::int64_t kLingerMs = 1'000;

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

struct Server::State {
  State(ServerOptions server_options, Clock& server_clock)
      : options(std::move(server_options)),
        clock(server_clock),
        workers(static_cast<std::size_t>(std::max(1, options.workers)), options.queue),
        waiters(options.waiting_max, 0) {
    if (options.hosts.empty()) return;
    for (const char* name : {"localhost", "127.0.0.1", "[::1]"}) options.hosts.emplace_back(name);
    options.hosts.push_back(options.host);
  }

  // --- the loop (server.cpp) ---
  void loop();
  void accept_all();
  void make_room();
  void on_ready(Connection& connection, std::uint32_t events);
  void read_some(Connection& connection);
  void advance(Connection& connection);
  void judge_head(Connection& connection);
  void dispatch(Connection& connection);
  void run_inline(Connection& connection);
  void take_returned();
  void finish_answer(Connection& connection);
  void continue_writing(Connection& connection);
  void linger(Connection& connection);
  void sweep();
  void close_for_stop();
  // --- small tools ---
  void arm(Connection& connection, std::uint32_t events);
  void drop(Connection& connection);
  void refuse(Connection& connection, int status, std::string_view detail, Headers extra = {});
  void answer(Connection& connection, Response response, bool unread_input);
  [[nodiscard]] Response error_response(int status, std::string_view detail) const;
  void count_held(Connection& connection);
  void observe(Connection& connection);
  // --- on handler threads ---
  void handle(Connection& connection);
  void give_back(Connection& connection);
  void wake() const;

  ServerOptions options;
  Clock& clock;
  Router router;
  Fd listener, poller, waker;
  int port = 0;
  bool started = false;
  std::unordered_map<int, std::unique_ptr<Connection>> connections;  // by descriptor; I/O thread
  // Dropped in this pass, freed at its end: callers up the stack may still look at one's phase, and
  // its descriptor's number is not reused meanwhile.
  std::vector<std::unique_ptr<Connection>> dropped;
  std::vector<int> pipelined;  // idle connections that hold bytes of their next request already
  std::array<char, kReadPiece> piece{};
  std::size_t held_bytes = 0;
  std::int64_t last_sweep_ms = 0;
  std::int64_t accept_again_ms = 0;
  std::int64_t stop_deadline_ms = 0;
  bool listening = false;
  std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> beats{0};
  std::atomic<std::size_t> connection_count{0};
  std::stop_source stop_source;
  std::mutex returned_mutex;
  std::vector<Connection*> returned;
  Family<Histogram>* durations = nullptr;
  Pool workers;
  Pool waiters;
  std::thread thread;
};

// ---------------------------------------------------------------------------------------------
// The loop

void Server::State::loop() {
  std::array<epoll_event, 64> events{};
  while (true) {
    beats.fetch_add(1, std::memory_order_relaxed);
    const int ready = ::epoll_wait(poller.get(), events.data(), events.size(),
                                   pipelined.empty() ? kTickMs : 0);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == waker.get()) {
        std::uint64_t ignored = 0;
        while (::read(fd, &ignored, sizeof ignored) > 0) {
        }
      } else if (fd == listener.get()) {
        accept_all();
      } else if (const auto it = connections.find(fd); it != connections.end()) {
        on_ready(*it->second, events[static_cast<std::size_t>(i)].events);
      }
    }
    take_returned();
    for (const int fd : std::exchange(pipelined, {})) {
      const auto it = connections.find(fd);
      if (it != connections.end() && it->second->phase == Phase::kIdle) advance(*it->second);
    }
    const std::int64_t now = clock.mono_ms();
    if (now - last_sweep_ms >= kTickMs) sweep();
    if (stopping.load()) {
      close_for_stop();
      if (connections.empty()) return;
    }
    dropped.clear();
  }
}

void Server::State::accept_all() {
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    std::string peer;
    int error = 0;
    Fd fd = accept_tcp(listener, peer, error);
    if (!fd) {
      if (error == EINTR || error == ECONNABORTED) continue;
      if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        log::warn("{}: out of file descriptors; not accepting for a second", options.name);
        ::epoll_ctl(poller.get(), EPOLL_CTL_DEL, listener.get(), nullptr);
        listening = false;
        accept_again_ms = clock.mono_ms() + 1000;
      }
      return;
    }
    if (connections.size() >= options.connections_max) make_room();
    if (connections.size() >= options.connections_max) continue;  // closes it
    const int number = fd.get();
    auto connection = std::make_unique<Connection>(
        std::move(fd), std::move(peer),
        ParserLimits{options.header_limit_bytes, options.body_limit_bytes, false});
    connection->deadline_ms = clock.mono_ms() + options.idle_ms;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;
    event.data.fd = number;
    ::epoll_ctl(poller.get(), EPOLL_CTL_ADD, number, &event);
    auto& added = *connections.emplace(number, std::move(connection)).first->second;
    connection_count.store(connections.size());
    read_some(added);  // most often the request is there already
  }
}

// Closes the connection that has waited longest without owing us anything: an idle one first, else
// one that is still sending its request.
void Server::State::make_room() {
  Connection* victim = nullptr;
  for (const auto& [fd, connection] : connections) {
    if (connection->phase == Phase::kBusy || connection->phase == Phase::kWriting) continue;
    const auto rank = [](const Connection& c) {
      return std::pair(c.phase == Phase::kIdle ? 0 : 1, c.deadline_ms);
    };
    if (victim == nullptr || rank(*connection) < rank(*victim)) victim = connection.get();
  }
  if (victim != nullptr) drop(*victim);
}

void Server::State::on_ready(Connection& connection, std::uint32_t events) {
  switch (connection.phase) {
    case Phase::kBusy:
    case Phase::kClosed:
      return;
    case Phase::kWriting:
      return continue_writing(connection);
    case Phase::kLinger:
      return linger(connection);
    case Phase::kIdle:
    case Phase::kHead:
    case Phase::kBody:
      break;
  }
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return drop(connection);
  read_some(connection);
}

void Server::State::read_some(Connection& connection) {
  const auto got = ::recv(connection.fd.get(), piece.data(), piece.size(), 0);
  if (got == 0) return drop(connection);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return arm(connection, EPOLLIN);
    return drop(connection);
  }
  connection.in.append(piece.data(), static_cast<std::size_t>(got));
  advance(connection);
}

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
  connection.close_after = !parser.keep_alive() ||
                           ++connection.requests >= options.requests_per_connection ||
                           stopping.load();
  request = {};
  request.method = std::move(parser.method());
  request.target = origin_form(parser.target());
  request.headers = std::move(parser.headers());
  request.peer = connection.peer;
  request.received_ms = clock.now_ms();
  request.received_mono_ms = clock.mono_ms();
  connection.head_only = request.method == "HEAD";
  const auto& headers = request.headers;
  if (headers.has("Transfer-Encoding") &&
      !equals_ignoring_case(headers.get("Transfer-Encoding"), "chunked")) {
    return refuse(connection, 501, "the only transfer encoding spoken here is chunked");
  }
  const std::size_t host_fields = headers.count("Host");
  if (host_fields > 1 || (host_fields == 0 && !connection.http_1_0)) {
    return refuse(connection, 400, "exactly one Host header is needed");
  }
  const auto host = host_without_port(headers.get("Host"));
  const bool known = std::any_of(options.hosts.begin(), options.hosts.end(), [&](const auto& name) {
    return equals_ignoring_case(host_without_port(name), host);
  });
  if (!options.hosts.empty() && !known) {
    return refuse(connection, 421, "this server is not known by that Host; see http.hosts");
  }
  const auto coding = headers.get("Content-Encoding");
  if (!coding.empty() && !equals_ignoring_case(coding, "identity")) {
    return refuse(connection, 415, "send the body without Content-Encoding");
  }
  const std::string_view target = request.target;
  request.path = target.substr(0, target.find('?'));
  auto query = parse_query(
      request.path.size() < target.size() ? target.substr(request.path.size() + 1) : "");
  auto match = router.match(request.method, request.path);
  if (!query || !match) {
    return refuse(connection, 400, query ? match.error().message : query.error().message);
  }
  request.query = std::move(*query);
  if (match->route == nullptr) {
    if (match->allow.empty()) return refuse(connection, 404, "no such address");
    return refuse(connection, 405, "allowed here: " + match->allow, {{"Allow", match->allow}});
  }
  connection.route = match->route;
  request.route = match->route->pattern;
  request.params = std::move(match->params);
  if (options.gate && match->route->options.run != Run::kInline) {
    if (auto stopped = options.gate(request)) {
      return answer(connection, std::move(*stopped), !parser.done());
    }
  }
  const auto expect = headers.get("Expect");
  if (expect.empty() || parser.done()) return;
  if (!equals_ignoring_case(expect, "100-continue")) {
    return refuse(connection, 417, "only 100-continue can be expected");
  }
  std::size_t at = 0;
  if (!send_some(connection.fd.get(), "HTTP/1.1 100 Continue\r\n\r\n", at)) drop(connection);
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

void Server::State::take_returned() {
  std::vector<Connection*> back;
  {
    std::lock_guard lock(returned_mutex);
    back.swap(returned);
  }
  for (Connection* connection : back) {
    connection->phase = Phase::kWriting;
    connection->deadline_ms = clock.mono_ms() + options.write_ms;
    connection->answer_deadline_ms = clock.mono_ms() + options.answer_ms;
    count_held(*connection);
    continue_writing(*connection);
  }
}

void Server::State::continue_writing(Connection& connection) {
  const std::size_t before = connection.out_at;
  if (!send_some(connection.fd.get(), connection.out, connection.out_at)) return drop(connection);
  if (connection.out_at >= connection.out.size()) return finish_answer(connection);
  if (connection.out_at > before) {
    connection.deadline_ms =
        std::min(clock.mono_ms() + options.write_ms, connection.answer_deadline_ms);
  }
  arm(connection, EPOLLOUT);
}

// The answer is on its way: next request, or close.
void Server::State::finish_answer(Connection& connection) {
  observe(connection);
  connection.out.clear();
  connection.out.shrink_to_fit();
  connection.out_at = 0;
  if (connection.linger_after) {
    ::shutdown(connection.fd.get(), SHUT_WR);
    connection.phase = Phase::kLinger;
    connection.deadline_ms = clock.mono_ms() + kLingerMs;
    connection.in.clear();
    return arm(connection, EPOLLIN);
  }
  if (connection.close_after || stopping.load()) return drop(connection);
  connection.parser = Parser(
      MessageKind::kRequest, {options.header_limit_bytes, options.body_limit_bytes, false});
  connection.request = {};
  connection.route = nullptr;
  connection.http_1_0 = connection.head_only = false;
  connection.phase = Phase::kIdle;
  connection.deadline_ms = clock.mono_ms() + options.idle_ms;
  count_held(connection);
  if (connection.in.empty()) return arm(connection, EPOLLIN);
  pipelined.push_back(connection.fd.get());  // later, in this loop: no recursion
}

void Server::State::linger(Connection& connection) {
  std::array<char, 16 << 10> waste;
  const auto got = ::recv(connection.fd.get(), waste.data(), waste.size(), 0);
  if (got > 0) connection.lingered_bytes += static_cast<std::size_t>(got);
  const bool again = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  if (!again || connection.lingered_bytes > kLingerBytes) return drop(connection);
  arm(connection, EPOLLIN);
}

// Deadlines. A few hundred connections at most: a walk is cheaper than a heap.
void Server::State::sweep() {
  last_sweep_ms = clock.mono_ms();
  if (!listening && !stopping.load() && last_sweep_ms >= accept_again_ms) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = listener.get();
    listening = ::epoll_ctl(poller.get(), EPOLL_CTL_ADD, listener.get(), &event) == 0;
  }
  std::vector<Connection*> late;
  for (const auto& [fd, connection] : connections) {
    if (connection->phase != Phase::kBusy && last_sweep_ms >= connection->deadline_ms) {
      late.push_back(connection.get());
    }
  }
  for (Connection* connection : late) {
    if (connection->phase == Phase::kHead || connection->phase == Phase::kBody) {
      refuse(*connection, 408, "the request took too long to arrive");
    } else {
      drop(*connection);
    }
  }
}

void Server::State::close_for_stop() {
  if (listener) {
    ::epoll_ctl(poller.get(), EPOLL_CTL_DEL, listener.get(), nullptr);
    listener = Fd();
  }
  const bool over = clock.mono_ms() >= stop_deadline_ms;
  std::vector<Connection*> doomed;
  for (const auto& [fd, connection] : connections) {
    if (connection->phase == Phase::kBusy) {
      if (over) ::shutdown(fd, SHUT_RDWR);  // its writes fail; the handler gives it back
    } else if (over || connection->phase != Phase::kWriting) {
      doomed.push_back(connection.get());
    }
  }
  for (Connection* connection : doomed) drop(*connection);
}

// ---------------------------------------------------------------------------------------------
// Small tools

void Server::State::arm(Connection& connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.fd = connection.fd.get();
  ::epoll_ctl(poller.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
}

void Server::State::drop(Connection& connection) {
  if (connection.phase == Phase::kClosed) return;
  observe(connection);
  connection.phase = Phase::kClosed;
  held_bytes -= connection.held_bytes;
  const auto it = connections.find(connection.fd.get());
  dropped.push_back(std::move(it->second));  // closing it takes it out of epoll
  connections.erase(it);
  connection_count.store(connections.size());
}

void Server::State::refuse(Connection& connection, int status, std::string_view detail,
                           Headers extra) {
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
  const double seconds =
      static_cast<double>(clock.mono_ms() - connection.first_byte_ms) / 1000.0;
  durations->with({route, std::to_string(connection.answered_status)}).observe(seconds);
  connection.answered_status = 0;
}

// ---------------------------------------------------------------------------------------------
// On handler threads

void Server::State::handle(Connection& connection) {
  ConnectionWriter writer(connection, options, clock, stop_source.get_token(), stopping.load());
  try {
    if (connection.route->streamer) {
      connection.route->streamer(connection.request, writer);
    } else {
      writer.send(connection.route->handler(connection.request));
    }
  } catch (const std::exception& problem) {
    log::error("{}: {} failed: {}", options.name, connection.request.route, problem.what());
    if (!writer.begun()) writer.send(error_response(500, "internal error; see the log"));
  } catch (...) {
    log::error("{}: {} failed", options.name, connection.request.route);
    if (!writer.begun()) writer.send(error_response(500, "internal error; see the log"));
  }
  if (!writer.begun()) writer.send(error_response(500, "no answer was made"));
  if (!writer.finished()) {  // a stream that broke off: the client must see that
    const ::linger reset{1, 0};
    ::setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    connection.out.clear();
    connection.out_at = 0;
    connection.close_after = true;
  }
  give_back(connection);
}

void Server::State::give_back(Connection& connection) {
  {
    std::lock_guard lock(returned_mutex);
    returned.push_back(&connection);
  }
  wake();
}

void Server::State::wake() const {
  const std::uint64_t one = 1;
  const auto written = ::write(waker.get(), &one, sizeof one);
  CHECK(written == sizeof one, "an eventfd of ours cannot be full");
}

// ---------------------------------------------------------------------------------------------
// The public face

Server::Server(ServerOptions options, Clock& clock)
    : state_(std::make_unique<State>(std::move(options), clock)) {}

Server::~Server() { stop(); }

void Server::route(std::string_view method, std::string_view pattern, Handler handler,
                   RouteOptions options) {
  CHECK(!state_->started, "routes are added before start()");
  state_->router.add(Route{std::string(method), std::string(pattern), {}, 0, std::move(handler), {},
                           std::move(options)});
}

void Server::stream(std::string_view method, std::string_view pattern, StreamHandler handler,
                    RouteOptions options) {
  CHECK(!state_->started, "routes are added before start()");
  CHECK(options.run != Run::kInline, "a stream would block the I/O thread");
  state_->router.add(Route{std::string(method), std::string(pattern), {}, 0, {}, std::move(handler),
                           std::move(options)});
}

void Server::get(std::string_view pattern, Handler handler, RouteOptions options) {
  route("GET", pattern, std::move(handler), std::move(options));
}

void Server::post(std::string_view pattern, Handler handler, RouteOptions options) {
  route("POST", pattern, std::move(handler), std::move(options));
}

Status Server::start() {
  State& s = *state_;
  CHECK(!s.started, "a server starts once");
  s.port = s.options.port;
  TRIMTAB_TRY(s.listener, listen_tcp(s.options.host, s.port));
  s.poller = Fd(::epoll_create1(EPOLL_CLOEXEC));
  s.waker = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!s.poller || !s.waker) return fail(Code::kIo, "out of file descriptors");
  if (s.options.metrics != nullptr) {
    s.durations = &s.options.metrics->histogram(
        "trimtab_http_request_duration_seconds", "From a request's first byte to its answer's last.",
        {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
        {"route", "code"});
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = s.waker.get();
  ::epoll_ctl(s.poller.get(), EPOLL_CTL_ADD, s.waker.get(), &event);
  event.data.fd = s.listener.get();
  ::epoll_ctl(s.poller.get(), EPOLL_CTL_ADD, s.listener.get(), &event);
  s.listening = true;
  s.started = true;
  s.thread = std::thread([&s] {
    pthread_setname_np(pthread_self(), (s.options.name + "-io").substr(0, 15).c_str());
    s.loop();
  });
  return {};
}

int Server::port() const { return state_->port; }

void Server::stop() {
  State& s = *state_;
  if (!s.thread.joinable()) return;
  s.stop_deadline_ms = s.clock.mono_ms() + s.options.drain_ms;
  s.stop_source.request_stop();
  s.stopping.store(true);
  s.wake();
  s.thread.join();
  s.workers.join();
  s.waiters.join();
}

std::uint64_t Server::heartbeat() const { return state_->beats.load(); }
std::size_t Server::connections() const { return state_->connection_count.load(); }

}  // namespace trimtab::net
