#include "base/net/router.h"

#include <algorithm>

#include "base/check.h"

namespace trimtab::net {
namespace {

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> parts;
  path.remove_prefix(1);
  for (;;) {
    const auto slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

PatternSegment parse_segment(std::string_view text) {
  PatternSegment segment;
  const auto open = text.find('{');
  const auto close = text.find('}');
  if (open == std::string_view::npos) {
    segment.prefix = text;
    return segment;
  }
  CHECK(close != std::string_view::npos && close > open, "unbalanced braces in a route pattern");
  segment.prefix = text.substr(0, open);
  segment.name = text.substr(open + 1, close - open - 1);
  segment.suffix = text.substr(close + 1);
  if (segment.name.ends_with("...")) {
    segment.name.resize(segment.name.size() - 3);
    segment.rest = true;
  }
  return segment;
}

using Params = std::vector<std::pair<std::string, std::string>>;

bool match_segment(const PatternSegment& segment, const std::string& part, Params& params) {
  if (segment.name.empty()) return part == segment.prefix;
  const std::size_t fixed = segment.prefix.size() + segment.suffix.size();
  if (part.size() <= fixed || !part.starts_with(segment.prefix) ||
      !part.ends_with(segment.suffix)) {
    return false;
  }
  params.emplace_back(segment.name, part.substr(segment.prefix.size(), part.size() - fixed));
  return true;
}

bool match_route(const Route& route, const std::vector<std::string>& parts, Params& params) {
  params.clear();
  for (std::size_t i = 0; i < route.segments.size(); ++i) {
    const auto& segment = route.segments[i];
    if (segment.rest) {
      std::string rest;
      for (std::size_t j = i; j < parts.size(); ++j) rest += (j > i ? "/" : "") + parts[j];
      params.emplace_back(segment.name, rest);
      return true;
    }
    if (i >= parts.size() || !match_segment(segment, parts[i], params)) return false;
  }
  return parts.size() == route.segments.size();
}

}  // namespace

void Router::add(Route route) {
  CHECK(route.pattern.starts_with('/'), "a route pattern begins with '/'");
  for (const auto part : split_path(route.pattern)) {
    CHECK(route.segments.empty() || !route.segments.back().rest, "{name...} must be last");
    route.segments.push_back(parse_segment(part));
    const auto& segment = route.segments.back();
    route.literal_bytes += segment.prefix.size() + segment.suffix.size() + 1;
  }
  routes_.push_back(std::make_unique<Route>(std::move(route)));
}

Result<RouteMatch> Router::match(std::string_view method, std::string_view path) const {
  if (!path.starts_with('/')) return fail(Code::kInvalid, "the address must begin with '/'");
  std::vector<std::string> parts;
  for (const auto part : split_path(path)) {
    auto decoded = percent_decode(part);
    if (!decoded) return tl::unexpected<Error>(decoded.error());
    const std::string_view text = *decoded;
    if (text == "." || text == "..") return fail(Code::kInvalid, "dot segments in the address");
    parts.push_back(std::move(*decoded));
  }
  RouteMatch best;
  std::vector<std::string> allowed;
  Params params;
  const auto fits = [&](const Route& route) {
    return route.method == method || (method == "HEAD" && route.method == "GET");
  };
  for (const auto& route : routes_) {
    const bool better = best.route == nullptr || route->literal_bytes > best.route->literal_bytes;
    if (!better || !match_route(*route, parts, params)) continue;
    if (!fits(*route)) {
      allowed.push_back(route->method);
      if (route->method == "GET") allowed.emplace_back("HEAD");
      continue;
    }
    best.route = route.get();
    best.params = params;
  }
  if (best.route == nullptr) {
    std::sort(allowed.begin(), allowed.end());
    allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
    for (const auto& name : allowed) best.allow += (best.allow.empty() ? "" : ", ") + name;
  }
  return best;
}

Result<Params> parse_query(std::string_view query) {
  Params pairs;
  while (!query.empty()) {
    const auto amp = query.find('&');
    const auto piece = query.substr(0, amp);
    query = amp == std::string_view::npos ? std::string_view{} : query.substr(amp + 1);
    if (piece.empty()) continue;
    const auto equals = piece.find('=');
    TRIMTAB_TRY(auto key, percent_decode(piece.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) {
      TRIMTAB_TRY(value, percent_decode(piece.substr(equals + 1), true));
    }
    pairs.emplace_back(std::move(key), std::move(value));
  }
  return pairs;
}

}  // namespace trimtab::net
