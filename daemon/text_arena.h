// TextArena: the memory behind a batch of decoded records.
//
// Strings and number arrays of a batch are copied here once and live as views until reset(), which
// keeps the memory: after a few batches decoding allocates nothing. Addresses never move.
// One owner, one thread at a time; a batch that crosses a queue takes its arena along.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace trimtab::daemon {

class TextArena {
 public:
  explicit TextArena(std::size_t block_bytes = 256 * 1024) : block_bytes_(block_bytes) {}

  // A copy of `text` that lives until reset().
  [[nodiscard]] std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    char* at = reserve(text.size(), 1);
    std::memcpy(at, text.data(), text.size());
    return {at, text.size()};
  }

  template <typename T>
  [[nodiscard]] std::span<const T> keep(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    static_assert(std::has_single_bit(alignof(T)));
    if (values.empty()) return {};
    T* at = reinterpret_cast<T*>(reserve(values.size_bytes(), alignof(T)));
    std::memcpy(static_cast<void*>(at), values.data(), values.size_bytes());
    return {at, values.size()};
  }

  // Bytes to be filled by the caller; they live as long.
  [[nodiscard]] char* room(std::size_t size) { return reserve(size, 1); }

  // Forgets everything kept. Blocks larger than the usual size are given back, so that one huge
  // record does not hold its memory for ever.
  void reset() {
    std::size_t kept = 0;
    for (auto& block : blocks_) {
      if (block.size == block_bytes_) blocks_[kept++] = std::move(block);
    }
    blocks_.resize(kept);
    block_ = 0;
    used_ = 0;
  }

  // Memory held, used or not.
  [[nodiscard]] std::size_t capacity_bytes() const {
    std::size_t sum = 0;
    for (const auto& block : blocks_) sum += block.size;
    return sum;
  }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };

  // REQUIRES: alignment is a power of two.
  char* reserve(std::size_t size, std::size_t alignment) {
    while (block_ < blocks_.size()) {
      const std::size_t start = (used_ + alignment - 1) & ~(alignment - 1);
      if (start + size <= blocks_[block_].size) {
        used_ = start + size;
        return blocks_[block_].bytes.get() + start;
      }
      ++block_;
      used_ = 0;
    }
    const std::size_t wanted = size > block_bytes_ ? size : block_bytes_;
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(wanted), wanted});
    used_ = size;
    return blocks_.back().bytes.get();
  }

  std::size_t block_bytes_;
  std::vector<Block> blocks_;
  std::size_t block_ = 0;  // the block being filled
  std::size_t used_ = 0;   // bytes of it that are taken
};

}  // namespace trimtab::daemon
