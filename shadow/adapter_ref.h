// An adapter as routing, trials and effects name it. Plain value.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace trimtab::shadow {

// A default-constructed one is the bare base (`adapter: null`), a legal champion.
struct AdapterRef {
  std::string name;              // <target>-<utc>-<sha8>, immutable; empty: the bare base
  std::string sha256;            // of adapter_model.safetensors, hex
  std::string uri;               // its folder, as trimtabd sees it
  std::string base_revision;     // digest of the base it was trained on (base/base_digest.h)
  std::string tokenizer_digest;  // sha256 of tokenizer.json

  [[nodiscard]] bool bare_base() const { return name.empty(); }
  // What model servers and people call it.
  [[nodiscard]] std::string label() const { return name.empty() ? "base" : name; }
  bool operator==(const AdapterRef&) const = default;
};

[[nodiscard]] nlohmann::json to_json(const AdapterRef& adapter);
[[nodiscard]] Result<AdapterRef> parse_adapter_ref(const nlohmann::json& json);

}  // namespace trimtab::shadow
