// What a request says, checked before anything is done with it: a body that is no JSON object, an
// unknown or mistyped key, a query that is no number and an If-Match that is no ETag are refused
// with what to write instead; nothing falls back to a default in silence. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/net/message.h"
#include "base/result.h"

namespace trimtab::daemon {

// A value, or the answer that refuses the request.
template <typename T>
using Checked = tl::expected<T, net::Response>;

enum class FieldType { kText, kFlag, kInteger, kObject, kOffset };  // kOffset: a text or an integer

struct BodyField {
  std::string_view name;
  FieldType type = FieldType::kText;
  bool required = false;
};

// The body as an object that holds `fields` and {actor, reason, force} at most; empty: {}.
// 400: no JSON; 422: no object, an unknown key (with the nearest one), a wrong type, a missing key.
[[nodiscard]] Checked<nlohmann::json> body_object(const net::Request& request,
                                                  const std::vector<BodyField>& fields = {});

// A query's whole number within [least, most]; `fallback` when it is absent. kInvalid else.
[[nodiscard]] Result<std::int64_t> query_number(const net::Request& request, const char* name,
                                                std::int64_t fallback, std::int64_t least,
                                                std::int64_t most);

// The sequence number of If-Match; nullopt when absent or "*". 412 for anything that is no ETag of
// a promotion: it cannot match.
[[nodiscard]] Checked<std::optional<std::uint64_t>> if_match(const net::Request& request);

}  // namespace trimtab::daemon
