// One segment file of the record store: header, then blocks {magic, packed size, plain size,
// checksum, zstd frame}. Private to record_store.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::daemon {

inline constexpr std::int64_t kSegmentHeaderBytes = 16;

// A block as it stands in the file: header and compressed content. kInternal when zstd fails.
[[nodiscard]] Result<std::string> pack_block(std::string_view plain);
// The content of the block at `offset`. kNotFound: no such file; kCorrupt: torn or altered.
[[nodiscard]] Result<std::string> read_block(const std::filesystem::path& file,
                                             std::int64_t offset);

// The segment that is being written. Appends are cut back by truncate() when they must not count.
class SegmentFile {
 public:
  SegmentFile() = default;
  // Opens or creates; the file is cut to `length` (at least the header), which drops a torn tail.
  // kCorrupt when it is shorter than `length`.
  [[nodiscard]] static Result<SegmentFile> open(const std::filesystem::path& file,
                                                std::int64_t length);
  SegmentFile(SegmentFile&& other) noexcept { *this = std::move(other); }
  SegmentFile& operator=(SegmentFile&& other) noexcept;
  ~SegmentFile();

  // Writes at the end and fsyncs; returns where it begins. After an error call truncate().
  [[nodiscard]] Result<std::int64_t> append(std::string_view bytes);
  [[nodiscard]] Status truncate(std::int64_t length);
  [[nodiscard]] std::int64_t length() const { return length_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
  std::int64_t length_ = 0;
  std::filesystem::path path_;
};

}  // namespace trimtab::daemon
