// JSON for everything off the hot path (the record decoder uses simdjson). Include this only where
// a document is read or built; public headers that merely pass one use json_fwd.h.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab {

using Json = nlohmann::json;
// Keeps the order of insertion: for documents people read and for byte-stable files.
using OrderedJson = nlohmann::ordered_json;

// kInvalid with the position when the text is not one JSON value. Never throws. Refuses nesting
// deeper than `max_depth`.
[[nodiscard]] Result<Json> parse_json(std::string_view text, int max_depth = 64);
// Invalid UTF-8 becomes U+FFFD, so dumping never throws.
[[nodiscard]] std::string dump_json(const Json& value, int indent = -1);
[[nodiscard]] std::string dump_json(const OrderedJson& value, int indent = -1);

// Typed look-ups with the key in the error: json_get<std::string>(object, "base").
template <typename T>
[[nodiscard]] Result<T> json_get(const Json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || it == object.end()) {
    return fail(Code::kInvalid, std::string("missing key '") + key + "'");
  }
  try {
    return it->template get<T>();
  } catch (const nlohmann::json::exception&) {
    return fail(Code::kInvalid, std::string("key '") + key + "' has the wrong type");
  }
}
template <typename T>
[[nodiscard]] T json_or(const Json& object, const char* key, T fallback) {
  auto value = json_get<T>(object, key);
  return value ? std::move(*value) : std::move(fallback);
}

}  // namespace trimtab
