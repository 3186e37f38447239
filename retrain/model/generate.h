// Greedy continuation of many prompts at once, with KV caches: evaluation while training.
// (The server's engine with sampling, streaming and continuous batching is retrain/serve/.)
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {

struct GreedySettings {
  std::int64_t max_new_tokens = 32;
  std::int64_t batch = 64;             // prompts side by side
  std::vector<std::int64_t> stop_ids;  // generation ends before these
};

// One list of new ids a prompt, stop tokens left out. Runs on the calling thread.
[[nodiscard]] Result<std::vector<std::vector<std::int64_t>>> generate_greedy(
    const Decoder& decoder, const Adapter* adapter,
    const std::vector<std::vector<std::int64_t>>& prompts, const GreedySettings& settings);

}  // namespace trimtab::model
