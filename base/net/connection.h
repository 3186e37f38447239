// Internal to base/net: one client's connection and what it may cost.
//
// Owned by the I/O thread, except while phase is kBusy: then by the one thread that runs its
// handler, until that thread hands it back (Server::State::give_back).
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "base/net/parser.h"
#include "base/net/router.h"
#include "base/net/server.h"
#include "base/net/server_tls.h"
#include "base/net/socket.h"

namespace trimtab::net {

enum class Phase {
  kIdle,     // between requests, no byte of the next one yet
  kHead,     // some bytes of a head
  kBody,     // head judged, body incomplete
  kBusy,     // a handler has it
  kWriting,  // an answer is being taken by the client
  kLinger,   // answered before the request was read whole: read on a little, so that the answer is
             // not lost to a reset, then close
  kClosed,   // dropped in this pass of the loop
};

struct Connection {
  Connection(Fd socket, std::string address, const ParserLimits& limits)
      : fd(std::move(socket)), peer(std::move(address)), parser(MessageKind::kRequest, limits) {}

  // What the socket gives or takes now, through TLS where there is any.
  [[nodiscard]] IoResult receive(char* into, std::size_t size);
  [[nodiscard]] IoResult transmit(std::string_view data);
  // Sends of `out` what the socket takes; kDone when all is sent.
  [[nodiscard]] Io send_out();

  Fd fd;
  std::unique_ptr<TlsSession> tls;  // nullptr: plain; freed before fd is closed
  std::string peer;
  Phase phase = Phase::kIdle;
  std::string in;  // received, not yet parsed
  Parser parser;
  Request request;
  const Route* route = nullptr;
  std::string out;  // still to be sent
  std::size_t out_at = 0;
  bool close_after = false;   // once `out` is sent
  bool linger_after = false;  // with unread request bytes in flight
  bool http_1_0 = false;
  bool head_only = false;
  std::int64_t deadline_ms = 0;    // mono; of the present phase
  std::int64_t first_byte_ms = 0;  // mono; of the present request
  std::int64_t answer_deadline_ms = 0;
  std::size_t requests = 0;
  std::size_t held_bytes = 0;  // as last counted
  std::size_t lingered_bytes = 0;
  int answered_status = 0;  // of the present request, for the metric
};

// The bytes of a head. Field names and values lose CR, LF and NUL. `length` < 0: chunked (or until
// close for HTTP/1.0).
[[nodiscard]] std::string render_head(int status, const Headers& headers, std::int64_t length,
                                      bool keep_alive, bool http_1_0, std::int64_t now_ms);
// Head and body of a whole answer.
[[nodiscard]] std::string render(const Response& response, const Connection& connection,
                                 bool keep_alive, std::int64_t now_ms);

// Answers for one busy connection, on its handler's thread.
class ConnectionWriter final : public ResponseWriter {
 public:
  ConnectionWriter(Connection& connection, const ServerOptions& options, const Clock& clock,
                   std::stop_token stop, bool draining);
  bool send(Response response) override;
  bool begin(int status, const Headers& headers) override;
  bool write(std::string_view piece) override;
  bool end() override;
  [[nodiscard]] bool begun() const override { return begun_; }
  [[nodiscard]] bool client_gone() override;
  [[nodiscard]] std::stop_token stop_token() const override { return stop_; }
  // True when the answer is whole (sent, or left in connection.out).
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  bool send_all(std::string_view data);

  Connection& connection_;
  const ServerOptions& options_;
  const Clock& clock_;
  std::stop_token stop_;
  bool keep_alive_;
  bool begun_ = false;
  bool finished_ = false;
  bool broken_ = false;
};

}  // namespace trimtab::net
