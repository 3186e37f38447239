// Internal to base/net: what the server is made of. The functions are spread by what they do:
// server_loop.cpp (sockets, deadlines, stopping), server_requests.cpp (judging requests, answers
// from the I/O thread), server.cpp (handler threads, the public face).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/net/connection.h"
#include "base/net/pool.h"
#include "base/net/router.h"
#include "base/net/server.h"
#include "base/net/server_tls.h"
#include "base/net/socket.h"

namespace trimtab::net {

inline constexpr std::size_t kReadPiece = 64 << 10;

struct Refusal {
  int status = 0;
  std::string detail;
  Headers extra;
};

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

  // --- the I/O thread: sockets and deadlines ---
  void loop();
  void accept_all();
  void make_room();
  void on_ready(Connection& connection, std::uint32_t events);
  void read_some(Connection& connection);
  void take_returned();
  void finish_answer(Connection& connection);
  void continue_writing(Connection& connection);
  void linger(Connection& connection);
  void sweep();
  void close_for_stop();
  // --- the I/O thread: requests ---
  void advance(Connection& connection);
  void judge_head(Connection& connection);
  // nullopt: nothing speaks against it.
  [[nodiscard]] std::optional<Refusal> judge_fields(const Connection& connection) const;
  [[nodiscard]] std::optional<Refusal> find_route(Connection& connection);
  void dispatch(Connection& connection);
  void run_inline(Connection& connection);
  // --- small tools ---
  void arm(Connection& connection, std::uint32_t events);
  void arm(Connection& connection, Io wanted);
  void drop(Connection& connection);
  void refuse(Connection& connection, int status, std::string_view detail,
              const Headers& extra = {});
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
  std::unique_ptr<TlsContext> tls;  // nullptr: plain HTTP
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

}  // namespace trimtab::net
