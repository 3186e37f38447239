// Files that survive a crash: whole or absent, never half.
//
// write_atomic and rename_durable fsync the file and its folder, so that after they return the new
// content is there even if power fails. All functions name the path in their error. Thread-safe
// (distinct paths).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab {

// kNotFound when absent, kExhausted when larger than `limit_bytes`.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path,
                                            std::uint64_t limit_bytes = 1ULL << 30);
// Temporary file beside it, fsync, rename, fsync of the folder. A link is followed; what is no file
// (a pipe, a device) is written to as it is.
[[nodiscard]] Status write_atomic(const std::filesystem::path& path, std::string_view content,
                                  unsigned mode = 0644);
// Renames a file or folder and fsyncs both parents.
[[nodiscard]] Status rename_durable(const std::filesystem::path& from,
                                    const std::filesystem::path& to);
// Two files or folders change places in one step (renameat2, Linux 3.15). kIo where the file system
// cannot; then nothing has moved.
[[nodiscard]] Status exchange_durable(const std::filesystem::path& one,
                                      const std::filesystem::path& other);
[[nodiscard]] Status fsync_path(const std::filesystem::path& path);
[[nodiscard]] Status make_folders(const std::filesystem::path& path);
[[nodiscard]] Status remove_tree(const std::filesystem::path& path);
// Free bytes for an unprivileged writer on the file system of `path`.
[[nodiscard]] Result<std::uint64_t> free_bytes(const std::filesystem::path& path);

// An exclusive advisory lock (flock) held for the object's life; the kernel drops it when the
// process dies, so a lock that is held means that its owner lives.
class FileLock {
 public:
  // kConflict when another process holds it.
  [[nodiscard]] static Result<FileLock> acquire(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// A fresh folder below the system's temporary folder, removed with the object. For tests and for
// work that ends with the process.
class TempFolder {
 public:
  explicit TempFolder(std::string_view prefix = "trimtab");
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace trimtab
