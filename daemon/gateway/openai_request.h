// What the gateway must know of an OpenAI request, and the one thing that it changes: `model`.
//
// Everything else of the body passes through byte for byte. Pure; thread-safe.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::gateway {

struct OpenAiRequest {
  std::string model;         // the alias asked for
  std::size_t model_at = 0;  // where its JSON value begins in the body, quotes included
  std::size_t model_size = 0;
  bool stream = false;
  std::string user;                            // the body's own `user`
  std::shared_ptr<const nlohmann::json> body;  // parsed, for the record
};

// kInvalid when the body is not one JSON object with exactly one top-level string `model`.
[[nodiscard]] Result<OpenAiRequest> parse_openai_request(std::string_view body);
// The body with another model name.
[[nodiscard]] std::string with_model(std::string_view body, const OpenAiRequest& request,
                                     std::string_view name);

// OpenAI's error object: {"error": {"message", "type", "param": null, "code"}}.
[[nodiscard]] std::string openai_error(std::string_view message, std::string_view type,
                                       std::string_view code);

}  // namespace trimtab::gateway
