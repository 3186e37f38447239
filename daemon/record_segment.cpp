#include "daemon/record_segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "base/hash.h"

namespace trimtab::daemon {
namespace {

constexpr std::string_view kFileMagic = "trimtab-records\x01";
static_assert(kFileMagic.size() == kSegmentHeaderBytes);
constexpr std::uint32_t kBlockMagic = 0x6b6c4274;  // "tBlk"
// One block is one commit's records; far above what 250 ms of the rate bound can bring.
constexpr std::uint64_t kMaxPlainBytes = 1ULL << 30;
constexpr int kLevel = 3;  // zstd's own default

struct BlockHeader {
  std::uint32_t magic = kBlockMagic;
  std::uint32_t packed = 0;
  std::uint64_t plain = 0;
  std::uint64_t checksum = 0;  // of the packed bytes
};
static_assert(sizeof(BlockHeader) == 24);

tl::unexpected<Error> file_error(const std::filesystem::path& file, const char* what, int code) {
  return fail(code == ENOENT ? Code::kNotFound : Code::kIo,
              file.string() + ": cannot " + what + ": " + std::strerror(code));
}

Status write_at(int fd, std::string_view bytes, std::int64_t at,
                const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::pwrite(fd, bytes.data(), bytes.size(), at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return file_error(file, "write", errno);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
    at += wrote;
  }
  return {};
}

Result<std::string> read_at(int fd, std::int64_t at, std::size_t size,
                            const std::filesystem::path& file) {
  std::string bytes(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got =
        ::pread(fd, bytes.data() + have, size - have, at + static_cast<std::int64_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(file, "read", errno);
    if (got == 0) return fail(Code::kCorrupt, file.string() + ": ends inside a block");
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

void fsync_or_abort(int fd) {
  // As for SQLite: after a failed fsync nobody knows what is on the disk.
  CHECK(::fdatasync(fd) == 0, "fsync of a record segment failed");
}

}  // namespace

Result<std::string> pack_block(std::string_view plain) {
  BlockHeader header;
  std::string block(sizeof(header) + ZSTD_compressBound(plain.size()), '\0');
  const std::size_t packed =
      ZSTD_compress(block.data() + sizeof(header), block.size() - sizeof(header), plain.data(),
                    plain.size(), kLevel);
  if (ZSTD_isError(packed) != 0) {
    return fail(Code::kInternal, std::string("zstd: ") + ZSTD_getErrorName(packed));
  }
  block.resize(sizeof(header) + packed);
  header.packed = static_cast<std::uint32_t>(packed);
  header.plain = plain.size();
  header.checksum = stable_hash(std::string_view(block).substr(sizeof(header)));
  std::memcpy(block.data(), &header, sizeof(header));
  return block;
}

Result<std::string> read_block(const std::filesystem::path& file, std::int64_t offset) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file_error(file, "open", errno);
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  TRIMTAB_TRY(const std::string head, read_at(fd, offset, sizeof(BlockHeader), file));
  BlockHeader header;
  std::memcpy(&header, head.data(), sizeof(header));
  if (header.magic != kBlockMagic || header.plain > kMaxPlainBytes) {
    return fail(Code::kCorrupt, file.string() + ": no block at " + std::to_string(offset));
  }
  TRIMTAB_TRY(const std::string packed,
              read_at(fd, offset + static_cast<std::int64_t>(sizeof(header)), header.packed, file));
  if (stable_hash(packed) != header.checksum) {
    return fail(Code::kCorrupt,
                file.string() + ": the block at " + std::to_string(offset) + " was altered");
  }
  std::string plain(header.plain, '\0');
  const std::size_t size =
      ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
  if (ZSTD_isError(size) != 0 || size != plain.size()) {
    return fail(Code::kCorrupt,
                file.string() + ": the block at " + std::to_string(offset) + " does not unpack");
  }
  return plain;
}

Result<SegmentFile> SegmentFile::open(const std::filesystem::path& file, std::int64_t length) {
  SegmentFile segment;
  segment.path_ = file;
  segment.fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (segment.fd_ < 0) return file_error(file, "open", errno);
  struct stat info {};
  if (::fstat(segment.fd_, &info) != 0) return file_error(file, "stat", errno);
  if (info.st_size < length) {
    return fail(Code::kCorrupt, file.string() + ": has " + std::to_string(info.st_size) +
                                    " bytes where " + std::to_string(length) +
                                    " were committed; restore it from a copy");
  }
  if (length < kSegmentHeaderBytes) {
    if (::ftruncate(segment.fd_, 0) != 0) return file_error(file, "truncate", errno);
    TRIMTAB_CHECK_OK(write_at(segment.fd_, kFileMagic, 0, file));
    fsync_or_abort(segment.fd_);
    TRIMTAB_CHECK_OK(fsync_path(file.parent_path()));
    segment.length_ = kSegmentHeaderBytes;
    return segment;
  }
  TRIMTAB_TRY(const std::string magic, read_at(segment.fd_, 0, kSegmentHeaderBytes, file));
  if (magic != kFileMagic) return fail(Code::kCorrupt, file.string() + ": is no record segment");
  TRIMTAB_CHECK_OK(segment.truncate(length));
  return segment;
}

SegmentFile& SegmentFile::operator=(SegmentFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(length_, other.length_);
  std::swap(path_, other.path_);
  return *this;
}

SegmentFile::~SegmentFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::int64_t> SegmentFile::append(std::string_view bytes) {
  const std::int64_t at = length_;
  TRIMTAB_CHECK_OK(write_at(fd_, bytes, at, path_));
  fsync_or_abort(fd_);
  length_ = at + static_cast<std::int64_t>(bytes.size());
  return at;
}

Status SegmentFile::truncate(std::int64_t length) {
  if (::ftruncate(fd_, length) != 0) return file_error(path_, "truncate", errno);
  length_ = length;
  return {};
}

}  // namespace trimtab::daemon
