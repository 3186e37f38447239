// The server's public face, and what happens on handler threads.
#include "base/net/server.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/net/server_state.h"

namespace trimtab::net {

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
  if (!writer.finished()) {     // a stream that broke off: the client must see that
    if (connection.http_1_0) {  // no chunks that could be missing: a reset must say it
      const ::linger reset{1, 0};
      ::setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
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

Server::Server(ServerOptions options, Clock& clock)
    : state_(std::make_unique<State>(std::move(options), clock)) {}

Server::~Server() { stop(); }

void Server::route(std::string_view method, std::string_view pattern, Handler handler,
                   RouteOptions options) {
  CHECK(!state_->started, "routes are added before start()");
  state_->router.add(Route{std::string(method),
                           std::string(pattern),
                           {},
                           0,
                           std::move(handler),
                           {},
                           std::move(options)});
}

void Server::stream(std::string_view method, std::string_view pattern, StreamHandler handler,
                    RouteOptions options) {
  CHECK(!state_->started, "routes are added before start()");
  CHECK(options.run != Run::kInline, "a stream would block the I/O thread");
  state_->router.add(Route{std::string(method),
                           std::string(pattern),
                           {},
                           0,
                           {},
                           std::move(handler),
                           std::move(options)});
}

void Server::get(std::string_view pattern, Handler handler, RouteOptions options) {
  route("GET", pattern, std::move(handler), std::move(options));
}

void Server::post(std::string_view pattern, Handler handler, RouteOptions options) {
  route("POST", pattern, std::move(handler), std::move(options));
}

Status Server::listen() {
  State& s = *state_;
  CHECK(!s.started && !s.listener, "a server listens once");
  s.port = s.options.port;
  if (!s.options.tls_cert_file.empty() || !s.options.tls_key_file.empty()) {
    TRIMTAB_TRY(s.tls, TlsContext::load(s.options.tls_cert_file, s.options.tls_key_file));
    ignore_sigpipe();
  }
  TRIMTAB_TRY(s.listener, listen_tcp(s.options.host, s.port));
  return {};
}

Status Server::start() {
  State& s = *state_;
  CHECK(!s.started, "a server starts once");
  if (!s.listener) TRIMTAB_CHECK_OK(listen());
  s.poller = Fd(::epoll_create1(EPOLL_CLOEXEC));
  s.waker = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!s.poller || !s.waker) return fail(Code::kIo, "out of file descriptors");
  if (s.options.metrics != nullptr) {
    s.durations = &s.options.metrics->histogram(
        "trimtab_http_request_duration_seconds",
        "From a request's first byte to its answer's last.",
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

std::vector<std::pair<std::string, std::string>> Server::routes() const {
  std::vector<std::pair<std::string, std::string>> routes;
  for (const auto& route : state_->router.all()) {
    routes.emplace_back(route->method, route->pattern);
  }
  return routes;
}

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
