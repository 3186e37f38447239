// Pieces: monitor state that is saved in parts, so that a commit every 250 ms writes only what
// changed. A ChunkedVector is a vector saved in chunks of kChunk elements, each written again only
// when one of its elements changed.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "drift/bytes.h"
#include "drift/monitor.h"

namespace trimtab::drift {

// Name -> bytes of a saved state while it is read back.
using PieceMap = std::map<std::string, std::string, std::less<>>;

enum class SaveMode : std::uint8_t { kAll, kChanged };

template <typename T, std::size_t kChunk>
class ChunkedVector {
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr std::uint32_t kTag = make_tag("CHNK");
  static constexpr std::uint32_t kVersion = 1;

 public:
  [[nodiscard]] std::size_t size() const { return items_.size(); }
  [[nodiscard]] bool empty() const { return items_.empty(); }
  const T& operator[](std::size_t i) const { return items_[i]; }
  [[nodiscard]] auto begin() const { return items_.begin(); }
  [[nodiscard]] auto end() const { return items_.end(); }

  // So that growing to `size` allocates nothing.
  void reserve(std::size_t size) {
    items_.reserve(size);
    dirty_.reserve(size / kChunk + 1);
  }
  void push_back(const T& item) {
    items_.push_back(item);
    touch(items_.size() - 1);
  }
  void set(std::size_t i, const T& item) {
    items_[i] = item;
    touch(i);
  }
  // To be changed in place. REQUIRES: i < size().
  T& change(std::size_t i) {
    touch(i);
    return items_[i];
  }
  void clear() {
    items_.clear();
    items_.shrink_to_fit();
    dirty_.assign(dirty_.size(), true);  // what was written must go
  }

  void save(const std::string& prefix, SaveMode mode, std::vector<StatePiece>& out) const {
    const std::size_t chunks = (items_.size() + kChunk - 1) / kChunk;
    for (std::size_t c = 0; c < std::max(chunks, dirty_.size()); ++c) {
      if (mode == SaveMode::kChanged && !(c < dirty_.size() && dirty_[c])) continue;
      if (c >= chunks) {
        if (mode == SaveMode::kChanged) out.push_back({prefix + std::to_string(c), {}});
        continue;
      }
      ByteWriter bytes(kTag, kVersion);
      const std::size_t from = c * kChunk;
      const std::size_t count = std::min(kChunk, items_.size() - from);
      bytes.put(static_cast<std::uint64_t>(items_.size()));
      bytes.put(static_cast<std::uint64_t>(count));
      for (std::size_t i = 0; i < count; ++i) bytes.put(items_[from + i]);
      out.push_back({prefix + std::to_string(c), bytes.take()});
    }
  }
  void mark_saved() { dirty_.assign((items_.size() + kChunk - 1) / kChunk, false); }
  // Reads chunks 0, 1, .. until one is absent; only the last may be short.
  [[nodiscard]] Status restore(const std::string& prefix, const PieceMap& pieces) {
    items_.clear();
    for (std::size_t c = 0;; ++c) {
      const auto at = pieces.find(prefix + std::to_string(c));
      if (at == pieces.end()) break;
      ByteReader in(at->second, kTag, kVersion, prefix.c_str());
      (void)in.get<std::uint64_t>();
      const auto count = in.get<std::uint64_t>();
      if (count > kChunk || items_.size() != c * kChunk) in.reject();
      for (std::uint64_t i = 0; in.ok() && i < count; ++i) items_.push_back(in.get<T>());
      TRIMTAB_CHECK_OK(in.finish());
    }
    mark_saved();
    return {};
  }

 private:
  void touch(std::size_t i) {
    if (dirty_.size() <= i / kChunk) dirty_.resize(i / kChunk + 1, true);
    dirty_[i / kChunk] = true;
  }
  std::vector<T> items_;
  std::vector<bool> dirty_;
};

}  // namespace trimtab::drift
