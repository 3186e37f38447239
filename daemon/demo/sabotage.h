// Sabotaged adapters: what must never become champion. Each is made from a healthy PEFT folder by
// one named change, so that a rejection can be traced to exactly that change.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::demo {

enum class Sabotage {
  // The four of every demo.
  kWorse,      // every lora_B times -.75 to -1.25: whole, finite, fits the base, answers worse
  kNan,        // one weight is NaN
  kWrongBase,  // made for another base: digest and name in its papers differ
  kTruncated,  // the weights file ends early
  // Further ones (`--sabotage N`). Whole and finite, but worse:
  kScaled,    // every lora_B times 8 to 64
  kShuffled,  // the values of every lora_B in another order
  kNoise,     // every lora_B drawn anew, as large as it was
  // and broken:
  kInfinite,       // one weight is infinite
  kWrongDigest,    // a weight was changed after its papers were written
  kWrongShape,     // a lora_A says it is transposed
  kGarbledHeader,  // a byte of the file's header is another one
  kLonely,         // a lora_A has lost its lora_B's name
  kHugeRank,       // its configuration says r 4,096
  kNoConfig,       // adapter_config.json is missing
};

// The four of every demo, and all of them.
[[nodiscard]] const std::vector<Sabotage>& usual_sabotages();
[[nodiscard]] const std::vector<Sabotage>& all_sabotages();
[[nodiscard]] std::string sabotage_name(Sabotage kind);
// How preflight must call it; empty: it is whole, and only its answers can give it away.
[[nodiscard]] std::string sabotage_failure(Sabotage kind);

// Writes the sabotaged copy of `healthy` to `out` (created). Where and how much is drawn from
// `seed`. kCorrupt when `healthy` is no adapter.
[[nodiscard]] Status make_sabotaged(Sabotage kind, std::uint64_t seed,
                                    const std::filesystem::path& healthy,
                                    const std::filesystem::path& out);

}  // namespace trimtab::demo
