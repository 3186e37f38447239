// The strict loader: one YAML file -> Settings, or every mistake in it at once.
//
// Each mistake is one line, `file:line:col: what; what to write instead`: unknown keys with the
// nearest valid one, duplicate keys, wrong types, values out of range, missing units, leading
// zeros, a second document, and what no single row can see (config/validate.h).
// Pure apart from reading the file; thread-safe. Callers exit 78 (EX_CONFIG) on an error.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/gateway_settings.h"
#include "config/settings.h"
#include "config/yaml_tree.h"

namespace trimtab::config {

// kInvalid (or read_file's code); the message is one line a mistake, sorted by place.
[[nodiscard]] Result<Settings> load_settings(const std::filesystem::path& path);
[[nodiscard]] Result<GatewaySettings> load_gateway_settings(const std::filesystem::path& path);

// The same from a text. `name` stands before the places; relative paths inside are taken from
// `folder` (empty: left as they are).
[[nodiscard]] Result<Settings> parse_settings(std::string_view text, const std::string& name,
                                              const std::filesystem::path& folder = {});
[[nodiscard]] Result<GatewaySettings> parse_gateway_settings(
    std::string_view text, const std::string& name, const std::filesystem::path& folder = {});

inline constexpr int kExitConfig = 78;  // EX_CONFIG of sysexits.h

}  // namespace trimtab::config
