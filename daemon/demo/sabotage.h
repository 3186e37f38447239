// Sabotaged adapters: what must never become champion. Each is made from a healthy PEFT folder by
// one named change, so that a rejection can be traced to exactly that change.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::demo {

enum class Sabotage {
  kWorse,      // every lora_B negated: whole, finite, fits the base, answers worse
  kNan,        // one weight is NaN
  kWrongBase,  // made for another base: digest and name in its papers differ
  kTruncated,  // the weights file ends early
};

[[nodiscard]] const std::vector<Sabotage>& all_sabotages();
[[nodiscard]] std::string sabotage_name(Sabotage kind);

// Writes the sabotaged copy of `healthy` to `out` (created). kCorrupt when `healthy` is no adapter.
[[nodiscard]] Status make_sabotaged(Sabotage kind, const std::filesystem::path& healthy,
                                    const std::filesystem::path& out);

}  // namespace trimtab::demo
