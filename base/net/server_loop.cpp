// The I/O thread: it owns the listening socket and every connection that no handler has. It reads
// requests until they are whole, finishes writing answers to slow clients, and closes what exceeds
// a deadline.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/net/server_state.h"

namespace trimtab::net {
namespace {

constexpr int kTickMs = 100;
constexpr int kAcceptsPerPass = 64;
constexpr std::size_t kLingerBytes = 1 << 20;
constexpr std::int64_t kLingerMs = 1'000;

}  // namespace

void Server::State::loop() {
  std::array<epoll_event, 64> events{};
  while (true) {
    beats.fetch_add(1, std::memory_order_relaxed);
    const int ready =
        ::epoll_wait(poller.get(), events.data(), events.size(), pipelined.empty() ? kTickMs : 0);
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
    const bool stop_now = stopping.load();
    if (stop_now) close_for_stop();
    dropped.clear();  // closes them: also in the last pass
    if (stop_now && connections.empty()) return;
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
    // A handshake has no longer than a head.
    connection->deadline_ms = clock.mono_ms() + (tls ? options.head_ms : options.idle_ms);
    if (tls) connection->tls = tls->session(number);
    if (tls && !connection->tls) continue;  // out of memory: closes it
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
    case Phase::kClosed: return;
    case Phase::kWriting: return continue_writing(connection);
    case Phase::kLinger: return linger(connection);
    case Phase::kIdle:
    case Phase::kHead:
    case Phase::kBody: break;
  }
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return drop(connection);
  read_some(connection);
}

void Server::State::read_some(Connection& connection) {
  const auto got = connection.receive(piece.data(), piece.size());
  if (got.state == Io::kClosed) return drop(connection);
  if (got.state != Io::kDone) return arm(connection, got.state);
  connection.in.append(piece.data(), got.bytes);
  advance(connection);
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
  const Io state = connection.send_out();
  if (state == Io::kClosed) return drop(connection);
  if (state == Io::kDone) return finish_answer(connection);
  if (connection.out_at > before) {
    connection.deadline_ms =
        std::min(clock.mono_ms() + options.write_ms, connection.answer_deadline_ms);
  }
  arm(connection, state);
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
  connection.parser =
      Parser(MessageKind::kRequest, {options.header_limit_bytes, options.body_limit_bytes, false});
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
  const auto got = connection.receive(waste.data(), waste.size());
  connection.lingered_bytes += got.bytes;
  if (got.state == Io::kClosed || connection.lingered_bytes > kLingerBytes) return drop(connection);
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

void Server::State::arm(Connection& connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.fd = connection.fd.get();
  ::epoll_ctl(poller.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
}

void Server::State::arm(Connection& connection, Io wanted) {
  arm(connection, static_cast<std::uint32_t>(wanted == Io::kWantWrite ? EPOLLOUT : EPOLLIN));
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

}  // namespace trimtab::net
