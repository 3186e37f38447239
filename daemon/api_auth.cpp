#include "daemon/api_auth.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"

namespace trimtab::daemon {
namespace {

constexpr std::string_view kCookie = "trimtab_session";
constexpr std::int64_t kSessionMs = 12LL * 3'600'000;  // a working day
constexpr std::size_t kSessionsMost = 256;

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

std::string_view cookie_value(const net::Request& request) {
  std::string_view rest = request.headers.get("Cookie");
  while (!rest.empty()) {
    const auto end = std::min(rest.find(';'), rest.size());
    auto pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    if (pair.starts_with(kCookie) && pair.size() > kCookie.size() && pair[kCookie.size()] == '=') {
      return pair.substr(kCookie.size() + 1);
    }
  }
  return {};
}

bool changes(const net::Request& request) {
  return request.method != "GET" && request.method != "HEAD";
}

// The page's own files and the door itself are open to everybody.
bool is_open(const net::Request& request) {
  return request.path == "/" || request.path == "/index.html" || request.path == "/app.js" ||
         request.path == "/charts.js" || request.path == "/style.css" ||
         request.path == "/api/v1/session";
}

}  // namespace

Result<std::unique_ptr<ApiAuth>> ApiAuth::create(const config::HttpSettings& settings,
                                                 Clock& clock) {
  auto made = std::unique_ptr<ApiAuth>(new ApiAuth(clock, !settings.tls_cert_file.empty()));
  TRIMTAB_CHECK_OK(made->reload(settings));
  return made;
}

Status ApiAuth::reload(const config::HttpSettings& settings) {
  std::vector<Token> tokens;
  for (const auto& token : settings.tokens) {
    auto secret = read_file(token.token_file, 64 << 10);
    if (!secret) return fail_in("http.tokens." + token.name, secret.error());
    const std::string text = trimmed(std::move(*secret));
    if (text.size() < 16) {
      return fail(Code::kInvalid, token.token_file + ": a token needs at least 16 characters");
    }
    tokens.push_back({.name = token.name, .secret_sha256 = sha256_hex(text), .role = token.role});
  }
  std::lock_guard lock(mutex_);
  // Who holds a token no longer is signed out, too.
  std::erase_if(sessions_, [&](const auto& session) {
    return std::none_of(tokens.begin(), tokens.end(), [&](const Token& token) {
      return token.secret_sha256 == session.second.token_sha256 &&
             token.role == session.second.role;
    });
  });
  tokens_ = std::move(tokens);
  return {};
}

bool ApiAuth::everybody() const {
  std::lock_guard lock(mutex_);
  return tokens_.empty();
}

// Digests are compared, so that the time of a comparison says nothing about the secret.
std::optional<ApiAuth::Token> ApiAuth::find_token(std::string_view secret) const {
  const std::string digest = sha256_hex(secret);
  std::lock_guard lock(mutex_);
  const auto it = std::find_if(tokens_.begin(), tokens_.end(),
                               [&](const Token& token) { return token.secret_sha256 == digest; });
  return it == tokens_.end() ? std::nullopt : std::optional<Token>(*it);
}

Result<Caller> ApiAuth::identify(const net::Request& request) const {
  if (everybody()) return Caller{};
  const auto header = request.headers.get("Authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (header.starts_with(kBearer)) {
    const auto token = find_token(header.substr(kBearer.size()));
    if (!token) return fail(Code::kInvalid, "the bearer token is not known");
    return Caller{.name = token->name, .role = token->role};
  }
  const auto cookie = cookie_value(request);
  if (cookie.empty()) return fail(Code::kInvalid, "sign in, or send Authorization: Bearer TOKEN");
  std::lock_guard lock(mutex_);
  const auto it = sessions_.find(sha256_hex(cookie));
  if (it == sessions_.end() || it->second.expires_ms < clock_.now_ms()) {
    return fail(Code::kInvalid, "the session is over; sign in again");
  }
  return Caller{.name = it->second.name, .role = it->second.role, .by_cookie = true};
}

std::optional<net::Response> ApiAuth::gate(const net::Request& head) const {
  if (is_open(head)) return std::nullopt;
  const auto caller = identify(head);
  if (!caller) {
    auto response = net::problem(401, caller.error().message);
    response.headers.set("WWW-Authenticate", "Bearer realm=\"trimtab\"");
    return response;
  }
  if (!changes(head)) return std::nullopt;
  if (caller->by_cookie && head.headers.get("X-Trimtab-Csrf") != "1") {
    return net::problem(403, "calls with the page's cookie need the header X-Trimtab-Csrf: 1");
  }
  // Without tokens a foreign page could post to us through the browser of someone on this machine;
  // a browser says where it comes from, programs do not.
  if (everybody() && head.headers.has("Origin") && head.headers.get("X-Trimtab-Csrf") != "1") {
    return net::problem(403, "calls from a browser need the header X-Trimtab-Csrf: 1");
  }
  if (caller->role != config::Role::kOperator) {
    return net::problem(403, caller->name + " is a viewer; this call needs an operator");
  }
  return std::nullopt;
}

net::Response ApiAuth::sign_in(const net::Request& request) {
  if (request.headers.get("X-Trimtab-Csrf") != "1") {
    return net::problem(403, "signing in needs the header X-Trimtab-Csrf: 1");
  }
  const auto body = parse_json(request.body);
  std::optional<Token> token;
  if (body) token = find_token(json_or<std::string>(*body, "token", ""));
  if (!token) {
    log::warn("sign-in from {} refused: the token is not known", request.peer);
    return net::problem(401, "the token is not known");
  }
  std::array<std::uint8_t, 32> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return net::problem(503, "no randomness from the system");
  }
  const std::string value = to_hex(random.data(), random.size());
  {
    std::lock_guard lock(mutex_);
    const std::int64_t now_ms = clock_.now_ms();
    std::erase_if(sessions_, [&](const auto& one) { return one.second.expires_ms < now_ms; });
    while (sessions_.size() >= kSessionsMost) sessions_.erase(sessions_.begin());
    sessions_[sha256_hex(value)] = {.name = token->name,
                                    .token_sha256 = token->secret_sha256,
                                    .role = token->role,
                                    .expires_ms = now_ms + kSessionMs};
  }
  log::info("{} ({}) signed in from {}", token->name,
            token->role == config::Role::kOperator ? "operator" : "viewer", request.peer);
  net::Response response;
  response.status = 204;
  response.headers.set("Set-Cookie", std::string(kCookie) + "=" + value +
                                         "; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200" +
                                         (secure_ ? "; Secure" : ""));
  return response;
}

net::Response ApiAuth::who(const net::Request& request) const {
  const auto caller = identify(request);
  if (!caller) return net::problem(401, caller.error().message);
  auto response = net::json_response(
      200, {{"name", caller->name},
            {"role", caller->role == config::Role::kOperator ? "operator" : "viewer"},
            {"signed_in", caller->by_cookie}});
  response.headers.set("Cache-Control", "no-store");
  return response;
}

net::Response ApiAuth::sign_out(const net::Request& request) {
  {
    std::lock_guard lock(mutex_);
    sessions_.erase(sha256_hex(cookie_value(request)));
  }
  net::Response response;
  response.status = 204;
  response.headers.set("Set-Cookie",
                       std::string(kCookie) + "=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
  return response;
}

}  // namespace trimtab::daemon
