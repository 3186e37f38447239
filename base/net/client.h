// The house's HTTP/1.1 client: deadlines on everything, bounded answers, no redirects, no proxies,
// no cookies. http and https (certificates are verified; OpenSSL's default store or `ca_file`).
//
//   Client client({.total_ms = 5'000}, clock);
//   TRIMTAB_TRY(auto answer, client.get("http://127.0.0.1:8000/v1/models"));
//   if (answer.status != 200) ..
//
// An answer with any status is a success of the client; errors are kUnavailable (refused, reset,
// unresolvable, TLS), kTimeout, kInvalid (bad URL, an answer that is not HTTP), kExhausted (answer
// larger than the bound). The message names the origin, never headers or bodies.
//
// Connections are kept alive and reused, a bounded number an origin. A reused connection that turns
// out to be dead before any byte of an answer is replaced by a fresh one once, for GET and HEAD and
// for requests marked `safe_to_repeat`.
//
// Thread-safety: Client is; an Exchange belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/net/message.h"
#include "base/result.h"

namespace trimtab::net {

struct ClientOptions {
  std::int64_t connect_ms = 2'000;   // name look-up, connect and TLS handshake
  std::int64_t silence_ms = 30'000;  // the longest pause between two bytes received
  std::int64_t total_ms = 60'000;    // everything
  std::size_t header_limit_bytes = 64 << 10;
  std::size_t body_limit_bytes = 16 << 20;
  std::size_t idle_per_origin = 16;  // kept alive
  std::int64_t idle_ms = 10'000;     // shorter than the servers' idle time
  std::string ca_file;               // https: PEM bundle instead of the system's store
};

struct ClientRequest {
  std::string method = "GET";
  std::string url;
  Headers headers;  // Host, Content-Length and Connection are the client's business
  std::string body;
  bool safe_to_repeat = false;
  // 0: the Client's options.
  std::int64_t connect_ms = 0;
  std::int64_t silence_ms = 0;
  std::int64_t first_byte_ms = 0;  // until the head is complete; default silence_ms
  std::int64_t total_ms = 0;
  // Asked about every 100 ms while waiting; true gives up with kTimeout "cancelled".
  std::function<bool()> cancelled;
};

// An answer whose head has come and whose body is read piece by piece.
class Exchange {
 public:
  virtual ~Exchange() = default;  // before the end: closes the connection
  [[nodiscard]] virtual int status() const = 0;
  [[nodiscard]] virtual const Headers& headers() const = 0;
  // The next piece as soon as it is there; empty = the proper end. An error when the stream breaks
  // off, is silent for too long, or exceeds the bound.
  [[nodiscard]] virtual Result<std::string> read() = 0;
};

class Client {
 public:
  Client(ClientOptions options, Clock& clock);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] Result<Response> get(const std::string& url, const Headers& headers = {});
  [[nodiscard]] Result<Response> post(const std::string& url, std::string body,
                                      std::string_view content_type = "application/json",
                                      const Headers& headers = {});
  [[nodiscard]] Result<Response> send(const ClientRequest& request);
  // Returns when the head is complete.
  [[nodiscard]] Result<std::unique_ptr<Exchange>> start(const ClientRequest& request);
  // Hands each piece of the body over as it comes; `on_piece` returns false to stop (closes).
  [[nodiscard]] Result<Response> stream(const ClientRequest& request,
                                        const std::function<bool(std::string_view)>& on_piece);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Splits a text/event-stream into events as pieces arrive; the other half of SseWriter.
class SseParser {
 public:
  struct Event {
    std::string name, data, id;
  };
  // Calls `on_event` for every event completed by `piece`. False when one event exceeds
  // `limit_bytes`: the stream is not to be trusted.
  bool feed(std::string_view piece, const std::function<void(const Event&)>& on_event,
            std::size_t limit_bytes = 4 << 20);

 private:
  std::string line_;
  Event event_;
  bool any_ = false;
  bool skip_newline_ = false;
};

}  // namespace trimtab::net
