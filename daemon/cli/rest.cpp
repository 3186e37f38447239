#include "daemon/cli/rest.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"

namespace trimtab::cli {
namespace {

constexpr const char* kDefaultUrl = "http://127.0.0.1:8500";

std::string setting(const std::string& given, const char* variable, const char* fallback) {
  if (!given.empty()) return given;
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : fallback;
}

std::string user_name() {
  const passwd* user = ::getpwuid(::getuid());
  return user != nullptr ? user->pw_name : "uid-" + std::to_string(::getuid());
}

std::string fresh_key() {
  std::random_device entropy;
  return fmt::format("{:08x}{:08x}{:08x}", entropy(), entropy(), entropy());
}

}  // namespace

Result<Rest> Rest::open(const RestOptions& options, Clock& clock) {
  std::string url = setting(options.url, "TRIMTAB_URL", kDefaultUrl);
  while (url.ends_with('/')) url.pop_back();
  // 127.0.0.1:8500, as --help has it.
  if (url.find("://") == std::string::npos && url.find(':') != std::string::npos)
    url.insert(0, "http://");
  net::Headers headers;
  const std::string token_file = setting(options.token_file, "TRIMTAB_TOKEN_FILE", "");
  if (!token_file.empty()) {
    TRIMTAB_TRY(std::string token, read_file(token_file, 64 << 10));
    token.erase(token.find_last_not_of(" \t\r\n") + 1);
    headers.set("Authorization", "Bearer " + token);
  }
  return Rest(std::move(url), std::move(headers), clock);
}

Rest::Rest(std::string url, net::Headers headers, Clock& clock)
    : url_(std::move(url)),
      headers_(std::move(headers)),
      client_(std::make_unique<net::Client>(net::ClientOptions{}, clock)) {}

Result<Json> Rest::read(const std::string& what, const Result<net::Response>& response) const {
  if (!response) {
    return fail(response.error().code, url_ + ": " + response.error().message +
                                           "; is trimtabd running, and is --url right?");
  }
  const auto body = parse_json(response->body);
  if (response->status / 100 == 2) return body ? *body : Json::object();
  std::string detail = body ? json_or<std::string>(*body, "detail", "") : response->body;
  if (detail.empty()) detail = "status " + std::to_string(response->status);
  if (response->status == 401) detail += "; give --token-file or set TRIMTAB_TOKEN_FILE";
  if (response->status == 403) detail += "; this needs a token with the role operator";
  const Code code = response->status == 404   ? Code::kNotFound
                    : response->status == 409 ? Code::kConflict
                    : response->status >= 500 ? Code::kUnavailable
                                              : Code::kInvalid;
  return fail(code, what + ": " + detail);
}

Result<Json> Rest::get(const std::string& path) {
  return read("GET " + path, client_->get(url_ + path, headers_));
}

Result<Json> Rest::post(const std::string& path, const Json& body, const net::Headers& more) {
  net::Headers headers = headers_;
  for (const auto& [name, value] : more.fields()) headers.set(name, value);
  return read("POST " + path,
              client_->post(url_ + path, dump_json(body), "application/json", headers));
}

Result<Json> Rest::post_text(const std::string& path, const std::string& body,
                             const std::string& content_type) {
  return read("POST " + path, client_->post(url_ + path, body, content_type, headers_));
}

Result<Json> Rest::change(const std::string& path, Json body) {
  body["actor"] = user_name();
  return post(path, body, {{"Idempotency-Key", fresh_key()}});
}

Result<std::string> Rest::target_or_only(const std::string& named) {
  if (!named.empty()) return named;
  TRIMTAB_TRY(const Json answer, get("/api/v1/targets"));
  const Json targets = json_or<Json>(answer, "targets", Json::array());
  if (targets.size() == 1) return json_get<std::string>(targets[0], "name");
  std::string names;
  for (const auto& target : targets) names += " " + json_or<std::string>(target, "name", "?");
  if (targets.empty()) return fail(Code::kInvalid, "the daemon has no targets");
  return fail(Code::kInvalid, "there are several targets; say which:" + names);
}

Status Rest::follow(const std::string& path, const std::function<bool(const Json&)>& handle) {
  net::ClientRequest request;
  request.url = url_ + path;
  request.headers = headers_;
  request.headers.set("Accept", "text/event-stream");
  request.silence_ms = 60'000;
  request.total_ms = 365LL * 86'400'000;
  net::SseParser parser;
  bool wanted = true;
  const auto on_event = [&](const net::SseParser::Event& event) {
    if (!wanted) return;
    if (const auto json = parse_json(event.data)) wanted = handle(*json);
  };
  const auto response = client_->stream(
      request, [&](std::string_view piece) { return parser.feed(piece, on_event) && wanted; });
  if (!wanted) return {};
  const auto answer = read("GET " + path, response);
  return answer ? Status{} : tl::unexpected<Error>(answer.error());
}

}  // namespace trimtab::cli
