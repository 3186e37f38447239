// The web page's files, compiled in: no folder is served, so no path can escape from one.
#pragma once

#include <optional>
#include <string_view>

namespace trimtab::ui {

struct Asset {
  std::string_view body;
  std::string_view content_type;
};

// "/" and "/index.html", "/app.js", "/charts.js", "/style.css"; nullopt for everything else. Any
// thread.
[[nodiscard]] std::optional<Asset> find_asset(std::string_view path);

// What every answer with an asset carries: only our own script and style, no frames, no plug-ins.
inline constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
    "data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

}  // namespace trimtab::ui
