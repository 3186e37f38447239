// quick_hash: XXH3, 64 bit, inline, for the hot path, where stable_hash's byte by byte costs too
// much. Its value is the same on every machine and in every version since 0.8: it may be stored.
// Pure. Not for security.
#pragma once

#define XXH_INLINE_ALL  // the header alone: nothing to link
#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace trimtab {

[[nodiscard]] inline std::uint64_t quick_hash(std::string_view text, std::uint64_t seed = 0) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

}  // namespace trimtab
