// What a fault test sets in the page it shares with fault_shim.so, and the test's side of it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <stdexcept>

namespace trimtab::tests {

struct ShimPage {
  std::atomic<std::int64_t> clock_offset_s;  // added to CLOCK_REALTIME
  std::atomic<std::int32_t> sync_fails;      // 1: fsync and fdatasync fail with EIO
  std::atomic<std::int32_t> disk_full;       // 1: writes fail with ENOSPC
  std::atomic<std::int64_t> refused;         // calls that failed so
};

// Makes the page's file and maps it. Lives as long as the test.
class Shim {
 public:
  explicit Shim(const std::filesystem::path& file) : file_(file) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, sizeof(ShimPage)) != 0) throw std::runtime_error(file.string());
    void* at = ::mmap(nullptr, sizeof(ShimPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (at == MAP_FAILED) throw std::runtime_error("mmap of " + file.string());
    page_ = static_cast<ShimPage*>(at);
  }
  ~Shim() { ::munmap(page_, sizeof(ShimPage)); }
  Shim(const Shim&) = delete;
  Shim& operator=(const Shim&) = delete;
  ShimPage* operator->() const { return page_; }
  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path file_;
  ShimPage* page_;
};

}  // namespace trimtab::tests
