// Hashes with a fixed meaning: their values are stored, compared across processes and restarts, and
// part of public contracts. Changing one is a schema change. All functions are pure.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab {

// FNV-1a, 64 bit, finished with the SplitMix64 mixer so that all bits are usable. Not for security.
[[nodiscard]] std::uint64_t stable_hash(std::string_view text, std::uint64_t seed = 0);

// A hash in [0, 1) from stable_hash: for hash-sampling and splits.
[[nodiscard]] double stable_fraction(std::string_view text, std::uint64_t seed = 0);

using Sha256Digest = std::array<std::uint8_t, 32>;
[[nodiscard]] Sha256Digest sha256(std::string_view data);
[[nodiscard]] std::string sha256_hex(std::string_view data);
// kIo / kNotFound when the file cannot be read. Streams: any size.
[[nodiscard]] Result<std::string> sha256_file_hex(const std::filesystem::path& path);

// The routing contract's assignment (RECORDS.md section 5, hash `trimtab`): the first 8 bytes,
// big-endian, of SHA-256(seed 0x1f unit), divided by 2^64. In [0, 1).
[[nodiscard]] double assignment_fraction(std::string_view seed, std::string_view unit);

[[nodiscard]] std::string to_hex(const std::uint8_t* data, std::size_t size);

}  // namespace trimtab
