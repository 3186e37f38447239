// One definition of "the same base model", shared by the trainer (provenance), the preflight check
// and the routing document, so that an adapter can never be attached to weights it was not made
// for.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace trimtab {

// SHA-256 over the sorted lines "<name> <sha256 of the file>\n" of config.json and all
// *.safetensors in `folder`, as hex. Reads every byte: seconds per 10 GB. kNotFound without a
// config.json.
[[nodiscard]] Result<std::string> base_digest(const std::filesystem::path& folder);

// SHA-256 of tokenizer.json in `folder`, as hex. kNotFound when it is absent.
[[nodiscard]] Result<std::string> tokenizer_digest(const std::filesystem::path& folder);

}  // namespace trimtab
