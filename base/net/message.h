// HTTP messages as plain values, shared by the server and the client.
//
// Names of header fields compare without regard to case (RFC 9110). Nothing here touches a socket.
// Thread-safety: plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace trimtab::net {

// Header fields in the order they came. Few, so a linear search beats a map.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string, std::string>> fields) : fields_(fields) {}
  // The first field of that name; empty when absent.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::size_t count(std::string_view name) const;
  // Replaces all fields of that name by one.
  void set(std::string_view name, std::string_view value);
  void add(std::string_view name, std::string_view value);
  void remove(std::string_view name);
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& fields() const {
    return fields_;
  }
  [[nodiscard]] bool empty() const { return fields_.empty(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

[[nodiscard]] bool equals_ignoring_case(std::string_view a, std::string_view b);

// "a%20b" -> "a b"; '+' becomes a space only when `plus_is_space` (queries). kInvalid on a broken
// escape or an encoded NUL.
[[nodiscard]] Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
[[nodiscard]] std::string percent_encode(std::string_view text);

// A request as the server hands it to a handler: complete, its body decoded from chunks.
struct Request {
  std::string method;                                       // "GET"
  std::string target;                                       // as sent: "/api/v1/jobs/job-1?wait=5"
  std::string path;                                         // up to '?', still percent-encoded
  std::vector<std::pair<std::string, std::string>> query;   // decoded, in order
  std::vector<std::pair<std::string, std::string>> params;  // from the route, decoded
  Headers headers;
  std::string body;
  std::string peer;   // the socket's own address, "127.0.0.1": never taken from a header
  std::string route;  // the pattern that matched, "/api/v1/jobs/{id}": a bounded metric label
  std::int64_t received_ms = 0;  // Clock::now_ms() when the head was complete
  std::int64_t received_mono_ms = 0;

  [[nodiscard]] std::string_view param(std::string_view name) const;  // empty when absent
  [[nodiscard]] std::string_view query_value(std::string_view name) const;
  [[nodiscard]] bool has_query(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length, Connection, Date are the server's business
  std::string body;
};

[[nodiscard]] Response text_response(int status, std::string body,
                                     std::string_view content_type = "text/plain; charset=utf-8");
// `body` is JSON text already.
[[nodiscard]] Response json_text_response(int status, std::string body);
[[nodiscard]] Response json_response(int status, const nlohmann::json& value);

// RFC 9457: application/problem+json {type, title, status, detail}.
[[nodiscard]] Response problem(int status, std::string_view detail);
// The status that belongs to an Error's code (base/result.h), the message as detail.
[[nodiscard]] Response problem_from(const Error& error);
[[nodiscard]] int http_status_of(Code code);
[[nodiscard]] std::string_view reason_phrase(int status);

// "http://host:port/path". Default ports 80 and 443; IPv6 hosts in brackets.
struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // without brackets
  int port = 0;
  std::string target = "/";  // path and query

  [[nodiscard]] std::string origin() const;  // "http://host:port"
};
// kInvalid for another scheme, a missing host, user info, control characters or a bad port.
[[nodiscard]] Result<Url> parse_url(std::string_view text);

}  // namespace trimtab::net
