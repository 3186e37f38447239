// LD_PRELOAD library for fault tests: makes a real program's disk and clock misbehave while it
// runs. TRIMTAB_SHIM names a file that the test maps and changes; TRIMTAB_SHIM_DIR
// limits the disk faults to files below that folder (others, such as the log, stay well).
// What can be set is in fault_shim.h.
#include "tests/fault/fault_shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using trimtab::tests::ShimPage;

namespace {

ShimPage* page() {
  static ShimPage* const mapped = [] {
    const char* name = ::getenv("TRIMTAB_SHIM");
    if (name == nullptr) return static_cast<ShimPage*>(nullptr);
    const int fd = ::open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0) return static_cast<ShimPage*>(nullptr);
    void* at = ::mmap(nullptr, sizeof(ShimPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return at == MAP_FAILED ? nullptr : static_cast<ShimPage*>(at);
  }();
  return mapped;
}

bool is_below(int fd) {
  const char* folder = ::getenv("TRIMTAB_SHIM_DIR");
  if (folder == nullptr) return true;
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(link, path, sizeof path - 1);
  if (size < 0) return false;
  path[size] = '\0';
  return std::strncmp(path, folder, std::strlen(folder)) == 0;
}

bool is_full(int fd) {
  if (page() == nullptr || page()->disk_full.load() == 0 || !is_below(fd)) return false;
  page()->refused.fetch_add(1);
  errno = ENOSPC;
  return true;
}

bool is_failing_sync(int fd) {
  if (page() == nullptr || page()->sync_fails.load() == 0 || !is_below(fd)) return false;
  page()->refused.fetch_add(1);
  errno = EIO;
  return true;
}

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t which, struct timespec* time) {
  static auto* const next = real<int(clockid_t, struct timespec*)>("clock_gettime");
  const int done = next(which, time);
  if (done == 0 && which == CLOCK_REALTIME && page() != nullptr) {
    time->tv_sec += page()->clock_offset_s.load();
  }
  return done;
}

int fsync(int fd) {
  static auto* const next = real<int(int)>("fsync");
  return is_failing_sync(fd) ? -1 : next(fd);
}

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  return is_failing_sync(fd) ? -1 : next(fd);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  static auto* const next = real<ssize_t(int, const void*, size_t)>("write");
  return is_full(fd) ? -1 : next(fd, bytes, size);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return is_full(fd) ? -1 : next(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return is_full(fd) ? -1 : next(fd, bytes, size, at);
}

}  // extern "C"
