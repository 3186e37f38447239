#include "base/hash.h"

#include <openssl/evp.h>

#include <cstdio>
#include <new>
#include <vector>

#include "base/check.h"

namespace trimtab {
namespace {

constexpr double kTwoToMinus53 = 1.0 / 9007199254740992.0;

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    // OpenSSL fetches the algorithm on each call: without memory that fails, and nothing else does.
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::bad_alloc();
  }
  void add(const void* data, std::size_t size) {
    CHECK(EVP_DigestUpdate(context_.get(), data, size) == 1, "SHA-256 update");
  }
  Sha256Digest finish() {
    Sha256Digest digest{};
    unsigned size = 0;
    CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1 && size == 32,
          "SHA-256 final");
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, ContextDeleter> context_;
};

}  // namespace

std::uint64_t stable_hash(std::string_view text, std::uint64_t seed) {
  std::uint64_t h = 0xcbf29ce484222325ULL ^ mix(seed + 0x9e3779b97f4a7c15ULL * (seed != 0));
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix(h);
}

double stable_fraction(std::string_view text, std::uint64_t seed) {
  return static_cast<double>(stable_hash(text, seed) >> 11) * kTwoToMinus53;
}

Sha256Digest sha256(std::string_view data) {
  Sha256 hash;
  hash.add(data.data(), data.size());
  return hash.finish();
}

std::string to_hex(const std::uint8_t* data, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(size * 2, '0');
  for (std::size_t i = 0; i < size; ++i) {
    text[2 * i] = kDigits[data[i] >> 4];
    text[2 * i + 1] = kDigits[data[i] & 15];
  }
  return text;
}

std::string sha256_hex(std::string_view data) {
  const Sha256Digest digest = sha256(data);
  return to_hex(digest.data(), digest.size());
}

Result<std::string> sha256_file_hex(const std::filesystem::path& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                       &std::fclose);
  if (!file) return fail(Code::kNotFound, path.string() + ": cannot open for its sha256");
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    hash.add(buffer.data(), got);
  }
  if (std::ferror(file.get())) return fail(Code::kIo, path.string() + ": read error");
  const Sha256Digest digest = hash.finish();
  return to_hex(digest.data(), digest.size());
}

double assignment_fraction(std::string_view seed, std::string_view unit) {
  Sha256 hash;
  hash.add(seed.data(), seed.size());
  hash.add("\x1f", 1);
  hash.add(unit.data(), unit.size());
  const Sha256Digest digest = hash.finish();
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | digest[static_cast<std::size_t>(i)];
  // The top 53 bits only: value / 2^64 rounded to a double could reach 1.0.
  return static_cast<double>(value >> 11) * kTwoToMinus53;
}

}  // namespace trimtab
