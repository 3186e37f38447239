// Internal to base/net: which handler a path belongs to. Immutable once the server runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/net/server.h"

namespace trimtab::net {

// One segment of a pattern: prefix{name}suffix, or only a literal (name empty), or the rest.
struct PatternSegment {
  std::string prefix, name, suffix;
  bool rest = false;
};

struct Route {
  std::string method, pattern;
  std::vector<PatternSegment> segments;
  std::size_t literal_bytes = 0;
  Handler handler;  // one of the two
  StreamHandler streamer;
  RouteOptions options;
};

struct RouteMatch {
  const Route* route = nullptr;
  std::vector<std::pair<std::string, std::string>> params;
  std::string allow;  // with no route but a known path: "GET, HEAD, POST"
};

class Router {
 public:
  // REQUIRES: pattern begins with '/', names are unique in it, "{name...}" is last.
  void add(Route route);
  // `path` still percent-encoded. kInvalid for broken escapes and for "." or ".." segments.
  [[nodiscard]] Result<RouteMatch> match(std::string_view method, std::string_view path) const;
  [[nodiscard]] const std::vector<std::unique_ptr<Route>>& all() const { return routes_; }

 private:
  std::vector<std::unique_ptr<Route>> routes_;
};

// Splits "a=1&b=2", decoded.
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> parse_query(
    std::string_view query);

}  // namespace trimtab::net
