#include <array>

#include "config/tables.h"

namespace trimtab::config {
namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }
bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

bool is_port(std::string_view text) {
  const auto port = parse_integer(text);
  return port && *port >= 1 && *port <= 65'535;
}

bool is_host(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  if (text.front() == '[') return text.size() > 3 && text.back() == ']';  // [::1]
  for (const char c : text) {
    if (!is_alpha(c) && !is_digit(c) && !is_one_of(c, ".-_:")) return false;
  }
  return text.front() != '-' && text.front() != '.';
}

// host[:port]; a port is asked for when `port_needed`.
bool is_authority(std::string_view text, bool port_needed) {
  const auto colon = text.rfind(':');
  const bool bracket_end = !text.empty() && text.back() == ']';
  if (colon == std::string_view::npos || bracket_end) return !port_needed && is_host(text);
  const std::string_view host = text.substr(0, colon);
  return is_port(text.substr(colon + 1)) && is_host(host) &&
         (host.front() == '[' || host.find(':') == std::string_view::npos);
}

}  // namespace

std::string check_name(const std::string& text) {
  bool fine = !text.empty() && text.size() <= 63;
  for (const char c : text) fine = fine && (is_lower(c) || is_digit(c) || is_one_of(c, "-_."));
  if (fine && (is_lower(text[0]) || is_digit(text[0]))) return {};
  return "is not a name; write 1 to 63 of a-z 0-9 - _ . starting with a letter or digit";
}

std::string check_http_url(const std::string& text) {
  if (text.empty()) return {};
  std::string_view rest = text;
  if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else {
    return "is not a URL; write http://host:port";
  }
  const std::string_view authority = rest.substr(0, rest.find('/'));
  if (authority.find('@') != std::string_view::npos) {
    return "has a password in it; put the secret into a *_file";
  }
  if (!is_authority(authority, false)) return "has no valid host and port; write http://host:port";
  for (const char c : rest) {
    if (static_cast<unsigned char>(c) <= ' ' || is_one_of(c, "?#\"<>")) {
      return "has a query or odd characters; write http://host:port/path";
    }
  }
  return {};
}

std::string check_host(const std::string& text) {
  return is_host(text) ? "" : "is not a host; write an address such as 127.0.0.1 or a name";
}

std::string check_topic(const std::string& text) {
  bool fine = !text.empty() && text.size() <= 249 && text != "." && text != "..";
  for (const char c : text) fine = fine && (is_alpha(c) || is_digit(c) || is_one_of(c, "-_."));
  return fine ? "" : "is not a topic; Kafka takes 1 to 249 of a-z A-Z 0-9 - _ .";
}

std::string check_hours(const std::string& text) {
  const std::string wrong = "is not a span of hours; write HH:MM-HH:MM in UTC, such as 22:00-06:00";
  if (text.size() != 11 || text[5] != '-') return wrong;
  for (const std::size_t at : {std::size_t{0}, std::size_t{6}}) {
    for (const std::size_t digit : {at, at + 1, at + 3, at + 4}) {
      if (!is_digit(text[digit])) return wrong;
    }
    const int hour = (text[at] - '0') * 10 + text[at + 1] - '0';
    const int minute = (text[at + 3] - '0') * 10 + text[at + 4] - '0';
    if (text[at + 2] != ':' || hour > 24 || minute > 59 || (hour == 24 && minute > 0)) return wrong;
  }
  if (text.substr(0, 5) == text.substr(6)) return "is empty; leave the list empty for all hours";
  return {};
}

std::string check_header(const std::string& text) {
  bool fine = !text.empty() && text.size() <= 100;
  for (const char c : text) fine = fine && (is_alpha(c) || is_digit(c) || is_one_of(c, "-_"));
  return fine ? "" : "is not a header's name; write such as X-Session-Id";
}

std::string check_brokers(const std::string& text) {
  std::string_view rest = text;
  for (;;) {
    const auto comma = rest.find(',');
    if (!is_authority(rest.substr(0, comma), true)) {
      return "is not a list of brokers; write host:port, several with commas and no spaces";
    }
    if (comma == std::string_view::npos) return {};
    rest.remove_prefix(comma + 1);
  }
}

std::string check_not_empty(const std::string& text) {
  return text.empty() ? "is empty; write a value or remove the key" : "";
}

}  // namespace trimtab::config
