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

  // The tokens as they are now, read again; the old ones stay when that fails. Sessions of tokens
  // that are gone end.
  [[nodiscard]] Status reload(const config::HttpSettings& settings);

  // The server's gate: nullopt lets the request pass. Looks at the head only.
  [[nodiscard]] std::optional<net::Response> gate(const net::Request& head) const;
  // kInvalid: no valid credentials.
  [[nodiscard]] Result<Caller> identify(const net::Request& request) const;
  // GET, POST and DELETE /api/v1/session.
  [[nodiscard]] net::Response who(const net::Request& request) const;
  [[nodiscard]] net::Response sign_in(const net::Request& request);
  [[nodiscard]] net::Response sign_out(const net::Request& request);

 private:
  struct Token {
    std::string name, secret_sha256;
    config::Role role = config::Role::kViewer;
  };
  struct Session {
    std::string name, token_sha256;
    config::Role role = config::Role::kViewer;
    std::int64_t expires_ms = 0;
  };
  ApiAuth(Clock& clock, bool secure) : clock_(clock), secure_(secure) {}
  [[nodiscard]] std::optional<Token> find_token(std::string_view secret) const;
  [[nodiscard]] bool everybody() const;  // no tokens: everybody is an operator

  Clock& clock_;
  const bool secure_;  // behind https: the cookie says so
  mutable std::mutex mutex_;
  std::vector<Token> tokens_;
  std::map<std::string, Session> sessions_;  // by sha256 of the cookie's value; bounded
};

}  // namespace trimtab::daemon
