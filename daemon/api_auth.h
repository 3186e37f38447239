// Who is asking, and may they? Bearer tokens with roles (viewer: GET, operator: all), and for the
// page, which cannot send a bearer token with EventSource, an HttpOnly SameSite=Strict cookie with
// a CSRF header on everything that changes something. Without configured tokens everybody is an
// operator: the loader allows that on a loopback address only. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/net/message.h"
#include "base/result.h"
#include "config/daemon_settings.h"

namespace trimtab::daemon {

struct Caller {
  std::string name;  // the actor in the journal; empty: nobody was asked
  config::Role role = config::Role::kOperator;
  bool by_cookie = false;
};

class ApiAuth {
 public:
  // Reads the token files. kNotFound / kInvalid names the file.
  [[nodiscard]] static Result<std::unique_ptr<ApiAuth>> create(const config::HttpSettings& settings,
                                                               Clock& clock);

  // The server's gate: nullopt lets the request pass. Looks at the head only.
  [[nodiscard]] std::optional<net::Response> gate(const net::Request& head) const;
  // kInvalid: no valid credentials.
  [[nodiscard]] Result<Caller> identify(const net::Request& request) const;
  // POST and DELETE /api/v1/session.
  [[nodiscard]] net::Response sign_in(const net::Request& request);
  [[nodiscard]] net::Response sign_out(const net::Request& request);

 private:
  struct Token {
    std::string name, secret_sha256;
    config::Role role = config::Role::kViewer;
  };
  struct Session {
    std::string name;
    config::Role role = config::Role::kViewer;
    std::int64_t expires_ms = 0;
  };
  explicit ApiAuth(Clock& clock) : clock_(clock) {}
  [[nodiscard]] const Token* find_token(std::string_view secret) const;

  Clock& clock_;
  std::vector<Token> tokens_;
  mutable std::mutex mutex_;
  std::map<std::string, Session> sessions_;  // by sha256 of the cookie's value; bounded
};

}  // namespace trimtab::daemon
