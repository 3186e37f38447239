// The parts of a "Sequence" in a tokenizer.json, for normalizers and pre-tokenizers alike.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace trimtab::model {

inline constexpr int kMaxSequenceDepth = 16;  // Sequences inside Sequences; real files have 1

// The parts of a Sequence, each made by `make`.
template <typename Part, typename Make>
Result<std::vector<std::unique_ptr<Part>>> make_parts(const Json& json, const char* key, int depth,
                                                      Make make) {
  if (depth >= kMaxSequenceDepth) return fail(Code::kInvalid, "Sequence nested too deeply");
  if (!json.contains(key) || !json[key].is_array() || json[key].size() > 64) {
    return fail(Code::kInvalid, std::string("Sequence without a list '") + key + "' of at most 64");
  }
  std::vector<std::unique_ptr<Part>> parts;
  for (const auto& item : json[key]) {
    TRIMTAB_TRY(auto part, make(item, depth + 1));
    if (part) parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace trimtab::model
