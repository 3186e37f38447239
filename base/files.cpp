#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace trimtab {
namespace fs = std::filesystem;
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

tl::unexpected<Error> system_error(const fs::path& path, const char* what, int code) {
  const Code kind = code == ENOENT ? Code::kNotFound : Code::kIo;
  return fail(kind, path.string() + ": cannot " + what + ": " + std::strerror(code));
}

Status write_all(int fd, std::string_view content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd, content.data(), content.size());
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return system_error(path, "write", errno);
    }
    content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

Result<std::string> read_file(const fs::path& path, std::uint64_t limit_bytes) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return system_error(path, "open", errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return system_error(path, "stat", errno);
  if (S_ISDIR(info.st_mode)) return fail(Code::kInvalid, path.string() + ": is a folder");
  std::string content;
  content.resize(static_cast<std::size_t>(info.st_size > 0 ? info.st_size : 0));
  std::size_t at = 0;
  for (;;) {
    if (at > limit_bytes) {
      return fail(Code::kExhausted, path.string() + ": larger than the limit of " +
                                        std::to_string(limit_bytes) + " bytes");
    }
    if (at == content.size()) content.resize(content.size() + 65536);
    const ssize_t got = ::read(file.get(), content.data() + at, content.size() - at);
    if (got < 0) {
      if (errno == EINTR) continue;
      return system_error(path, "read", errno);
    }
    if (got == 0) break;
    at += static_cast<std::size_t>(got);
  }
  content.resize(at);
  return content;
}

// What is no file (a terminal, a pipe, /dev/null) has a place but no content to be replaced.
Status write_through(const fs::path& path, std::string_view content) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return system_error(path, "open", errno);
  return write_all(file.get(), content, path);
}

Status write_atomic(const fs::path& given, std::string_view content, unsigned mode) {
  static std::atomic<unsigned> counter{0};
  std::error_code none;  // a path that does not exist yet is neither link nor device
  fs::path path = given;
  if (fs::is_symlink(path, none) && fs::exists(path, none)) path = fs::canonical(path, none);
  if (fs::is_other(path, none)) return write_through(path, content);
  fs::path temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  Status wrote;
  {
    Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (file.get() < 0) return system_error(path, "create", errno);
    wrote = write_all(file.get(), content, path);
    if (wrote && ::fsync(file.get()) != 0) wrote = system_error(path, "fsync", errno);
  }
  if (wrote) wrote = rename_durable(temporary, path);
  if (!wrote) ::unlink(temporary.c_str());
  return wrote;
}

Status rename_durable(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_error(to, "rename", errno);
  TRIMTAB_CHECK_OK(fsync_path(parent_of(to)));
  if (parent_of(from) != parent_of(to)) return fsync_path(parent_of(from));
  return {};
}

Status exchange_durable(const fs::path& one, const fs::path& other) {
  if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) != 0) {
    return system_error(other, "exchange", errno);
  }
  TRIMTAB_CHECK_OK(fsync_path(parent_of(other)));
  if (parent_of(one) != parent_of(other)) return fsync_path(parent_of(one));
  return {};
}

Status fsync_path(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return system_error(path, "open", errno);
  if (::fsync(file.get()) != 0) return system_error(path, "fsync", errno);
  return {};
}

Status make_folders(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return system_error(path, "create the folder", error.value());
  return {};
}

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return system_error(path, "remove", error.value());
  return {};
}

Result<std::uint64_t> free_bytes(const fs::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return system_error(path, "statvfs", errno);
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

Result<FileLock> FileLock::acquire(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return system_error(path, "open", errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    ::close(fd);
    if (code == EWOULDBLOCK) {
      return fail(Code::kConflict, path.string() + ": held by another process");
    }
    return system_error(path, "lock", code);
  }
  return FileLock(fd);
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

TempFolder::TempFolder(std::string_view prefix) {
  std::string name = (fs::temp_directory_path() / (std::string(prefix) + "-XXXXXX")).string();
  CHECK(::mkdtemp(name.data()) != nullptr, "cannot make a temporary folder");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace trimtab
