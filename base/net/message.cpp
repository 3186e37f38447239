#include "base/net/message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/json.h"

namespace trimtab::net {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string_view find_value(const std::vector<std::pair<std::string, std::string>>& pairs,
                            std::string_view name) {
  for (const auto& [key, value] : pairs) {
    if (key == name) return value;
  }
  return {};
}

struct StatusLine {
  int status;
  std::string_view reason;
};
constexpr std::array<StatusLine, 34> kReasons = {{
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
}};

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view Headers::get(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (equals_ignoring_case(key, name)) return value;
  }
  return {};
}

bool Headers::has(std::string_view name) const { return count(name) > 0; }

std::size_t Headers::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(fields_.begin(), fields_.end(),
                    [&](const auto& field) { return equals_ignoring_case(field.first, name); }));
}

void Headers::set(std::string_view name, std::string_view value) {
  remove(name);
  add(name, value);
}

void Headers::add(std::string_view name, std::string_view value) {
  fields_.emplace_back(name, value);
}

void Headers::remove(std::string_view name) {
  std::erase_if(fields_,
                [&](const auto& field) { return equals_ignoring_case(field.first, name); });
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (text[i] == '%') {
      const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return fail(Code::kInvalid, "broken percent escape in the address");
      const char byte = static_cast<char>(high * 16 + low);
      if (byte == '\0') return fail(Code::kInvalid, "encoded NUL in the address");
      out.push_back(byte);
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::string_view Request::param(std::string_view name) const { return find_value(params, name); }
std::string_view Request::query_value(std::string_view name) const {
  return find_value(query, name);
}
bool Request::has_query(std::string_view name) const {
  return std::any_of(query.begin(), query.end(),
                     [&](const auto& pair) { return pair.first == name; });
}

std::string_view reason_phrase(int status) {
  for (const auto& line : kReasons) {
    if (line.status == status) return line.reason;
  }
  return "Status";
}

Response text_response(int status, std::string body, std::string_view content_type) {
  Response response{status, {}, std::move(body)};
  response.headers.add("Content-Type", content_type);
  return response;
}

Response json_text_response(int status, std::string body) {
  return text_response(status, std::move(body), "application/json");
}

Response json_response(int status, const Json& value) {
  return json_text_response(status, dump_json(value));
}

Response problem(int status, std::string_view detail) {
  OrderedJson body;
  body["type"] = "about:blank";
  body["title"] = reason_phrase(status);
  body["status"] = status;
  body["detail"] = detail;
  return text_response(status, dump_json(body), "application/problem+json");
}

int http_status_of(Code code) {
  switch (code) {
    case Code::kInvalid: return 400;
    case Code::kNotFound: return 404;
    case Code::kConflict: return 409;
    case Code::kUnavailable: return 503;
    case Code::kTimeout: return 504;
    case Code::kExhausted: return 429;
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal: break;
  }
  return 500;
}

Response problem_from(const Error& error) {
  return problem(http_status_of(error.code), error.message);
}

std::string Url::origin() const {
  const bool v6 = host.find(':') != std::string::npos;
  return scheme + "://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

namespace {

Result<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535) {
    return fail(Code::kInvalid, "the port must be 1..65535");
  }
  return port;
}

Status parse_authority(std::string_view authority, Url& url) {
  if (authority.find('@') != std::string_view::npos) {
    return fail(Code::kInvalid, "user names in URLs are not accepted; use a token file");
  }
  std::string_view port_text;
  if (!authority.empty() && authority.front() == '[') {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return fail(Code::kInvalid, "missing ']' in the host");
    url.host = authority.substr(1, close - 1);
    const auto rest = authority.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return fail(Code::kInvalid, "bad host");
    port_text = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port_text.empty()) return fail(Code::kInvalid, "missing port");
  } else {
    const auto colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) {
      port_text = authority.substr(colon + 1);
      if (port_text.empty()) return fail(Code::kInvalid, "missing port");
    }
  }
  if (url.host.empty()) return fail(Code::kInvalid, "missing host");
  url.port = url.scheme == "https" ? 443 : 80;
  if (!port_text.empty()) {
    TRIMTAB_TRY(url.port, parse_port(port_text));
  }
  return {};
}

}  // namespace

Result<Url> parse_url(std::string_view text) {
  const std::string where = "URL '" + std::string(text.substr(0, 200)) + "'";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
      return fail(Code::kInvalid, "a URL must not hold spaces or control characters");
    }
  }
  Url url;
  const auto scheme_end = text.find("://");
  if (scheme_end != std::string_view::npos) url.scheme = text.substr(0, scheme_end);
  if (url.scheme != "http" && url.scheme != "https") {
    return fail(Code::kInvalid, where + ": must begin with http:// or https://");
  }
  text.remove_prefix(scheme_end + 3);
  const auto target_at = text.find_first_of("/?#");
  auto status = parse_authority(text.substr(0, target_at), url);
  if (!status) return fail_in(where, status.error());
  if (target_at != std::string_view::npos) {
    auto target = text.substr(target_at);
    target = target.substr(0, target.find('#'));
    url.target =
        target.empty() || target.front() != '/' ? "/" + std::string(target) : std::string(target);
  }
  return url;
}

}  // namespace trimtab::net
