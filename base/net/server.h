// The house's HTTP/1.1 server: for an API, a page, SSE, long polls, a model server, a gateway.
//
// Hardened (OPERATIONS.md section 2), and safe to put before strangers on the API level:
//  - One I/O thread owns all sockets while a request is being read; a worker sees a request only
//    when it is complete. So slow clients cost a file descriptor and some bounded bytes, never a
//    worker; and routes that run on the I/O thread (health, metrics) answer even when every worker
//    and every waiting thread is busy.
//  - Bounds on everything: connections, header bytes, body bytes (chunked ones too), bytes held by
//    all connections together, time to send a head, time to send a request, idle time, time a
//    client takes to read an answer, workers, their queue, waiting threads. Past a bound: 408, 413,
//    414/431, 429/503 with Retry-After, or the connection is closed.
//  - Content-Encoding on a request is refused (415) before its body is read; HTTP/2 upgrades,
//    CONNECT and TRACE are not spoken; both Content-Length and Transfer-Encoding, or two lengths:
//    400.
//  - The Host header must be one of ours when `hosts` is set (DNS rebinding).
//  - Request::peer is the socket's address; no header can change it.
//  - A handler that throws answers 500 without its text; the text goes to the log.
//
//   Server server({.name = "api", .host = "127.0.0.1", .port = 0}, clock);
//   server.get("/api/v1/jobs/{id}", [&](const Request& r) { return text_response(200, ..); });
//   server.get("/healthz", health, {.run = Run::kInline});
//   server.get("/api/v1/events", [&](const Request& r, ResponseWriter& w) { .. }, {.run =
//   Run::kWaiting}); TRIMTAB_CHECK_OK(server.start());   // server.port() is known now
//   server.stop();                      // drains, joins
//
// Patterns: segments are literal, "{name}", or literal text around one name ("{id}:pause"); a last
// segment "{name...}" takes the rest. Of several that match, the one with the most literal text
// wins. A path known under another method answers 405 with Allow. HEAD is GET without the body.
//
// Thread-safety: routes are added before start(); start() and stop() from one thread; handlers run
// on many threads at once. Handlers must outlive the server's stop().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/net/message.h"
#include "base/result.h"

namespace trimtab::net {

// How a handler answers piece by piece. Valid only inside the handler; used by its thread only.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;
  // The whole answer at once. Every later call fails.
  virtual bool send(Response response) = 0;
  // Starts an answer of unknown length (chunked; HTTP/1.0: until close). False: the client is gone.
  virtual bool begin(int status, const Headers& headers) = 0;
  // One piece, sent at once. False when the client is gone or has not read for `write_ms`: give up.
  virtual bool write(std::string_view piece) = 0;
  // The proper end. A handler that returns without it breaks the connection, so that the client
  // knows that something is missing.
  virtual bool end() = 0;
  [[nodiscard]] virtual bool begun() const = 0;
  // Looks at the socket: true once the client has closed or reset it.
  [[nodiscard]] virtual bool client_gone() = 0;
  // Requested by Server::stop(). Waiting handlers must watch it; workers' handlers may finish.
  [[nodiscard]] virtual std::stop_token stop_token() const = 0;
};

// Server-sent events over a ResponseWriter (WHATWG HTML, section 9.2).
class SseWriter {
 public:
  // Sends the head: text/event-stream, no-store.
  explicit SseWriter(ResponseWriter& writer);
  // Empty id or name: left out. `data` may hold line breaks.
  bool event(std::string_view name, std::string_view data, std::string_view id = {});
  // A comment line: keeps proxies from closing and finds out whether the client is still there.
  bool ping();

 private:
  ResponseWriter& writer_;
};

using Handler = std::function<Response(const Request&)>;
using StreamHandler = std::function<void(const Request&, ResponseWriter&)>;

enum class Run {
  kWorker,   // the bounded pool
  kWaiting,  // a thread of its own: SSE, long polls; at most `waiting_max`, then 503
  kInline,   // on the I/O thread: health and metrics; must not block
};

struct RouteOptions {
  Run run = Run::kWorker;
  // With this query parameter present, the request goes to the waiting threads ("wait").
  std::string waits_if_query;
};

struct ServerOptions {
  std::string name = "http";       // in log lines and thread names
  std::string host = "127.0.0.1";  // loopback unless config says otherwise
  int port = 0;                    // 0: the system picks one
  // PEM files, both or neither: https.
  std::string tls_cert_file;
  std::string tls_key_file;
  int workers = 4;
  std::size_t queue = 128;  // complete requests waiting for a worker
  std::size_t waiting_max = 32;
  std::size_t connections_max = 1024;
  std::size_t header_limit_bytes = 16 << 10;  // request line and fields together
  std::size_t body_limit_bytes = 8 << 20;
  std::size_t held_limit_bytes = 256 << 20;  // of all connections together, then 503
  std::int64_t head_ms = 5'000;              // first byte of a request -> its head is complete
  std::int64_t request_ms = 30'000;          // first byte -> body complete
  std::int64_t idle_ms = 30'000;             // keep-alive without a request
  std::int64_t write_ms = 10'000;            // without the client reading anything
  std::int64_t answer_ms = 60'000;           // a whole answer (not a stream) -> client has it
  std::size_t requests_per_connection = 10'000;
  std::int64_t drain_ms = 5'000;  // stop(): how long answers in flight may take
  // Names allowed in Host (port ignored). Empty: any. "localhost", "127.0.0.1", "[::1]" and `host`
  // are added when it is not empty.
  std::vector<std::string> hosts;
  // Body of errors that the server itself makes; default problem(). Model servers speak OpenAI's.
  std::function<Response(int status, std::string_view detail)> error_body;
  // Called on the I/O thread when a head is complete, before its body is read: authentication,
  // CSRF. nullopt lets it pass. Must not block. Not called for Run::kInline routes.
  std::function<std::optional<Response>(const Request& head)> gate;
  // trimtab_http_request_duration_seconds{route,code}, when set; must outlive the server.
  Metrics* metrics = nullptr;
};

class Server {
 public:
  Server(ServerOptions options, Clock& clock);
  ~Server();  // stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void route(std::string_view method, std::string_view pattern, Handler handler,
             RouteOptions options = {});
  void stream(std::string_view method, std::string_view pattern, StreamHandler handler,
              RouteOptions options = {});
  void get(std::string_view pattern, Handler handler, RouteOptions options = {});
  void post(std::string_view pattern, Handler handler, RouteOptions options = {});

  // Binds, listens and starts the threads. kConflict: the port is taken ("127.0.0.1:8500: address
  // in use; stop the other process or choose another port"); kInvalid: the host is no address of
  // this machine. After it port() is the real one.
  [[nodiscard]] Status start();
  // The first half of start(): binds and listens, so that a taken port is known before anything
  // else is begun. Who connects waits until start().
  [[nodiscard]] Status listen();
  [[nodiscard]] int port() const;
  // Stops accepting, asks waiting handlers to stop, lets answers in flight finish for drain_ms,
  // closes what is left, joins. Idempotent.
  void stop();
  // Increases with every pass of the I/O loop: a watchdog reads it as proof of progress.
  [[nodiscard]] std::uint64_t heartbeat() const;
  [[nodiscard]] std::size_t connections() const;
  // Method and pattern of every route, in the order they were added: what documents are held
  // against.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> routes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::net
