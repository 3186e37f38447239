// ByteMap: where a message's strings end, found 64 bytes at a time while the message is copied, and
// whether all of it is UTF-8: one pass instead of four (Langdale and Lemire 2019 call it stage 1).
//
// Written for AVX-512, AVX2 and what every processor has, chosen at start; all agree. Not
// thread-safe; it keeps its memory.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace trimtab::daemon {

class ByteMap {
 public:
  // Zeros behind the copy, so that every scan ends and may read ahead.
  static constexpr std::size_t kPadding = 64;

  // Copies `message` to `to`, which has room for kPadding bytes more. False: it is not UTF-8, and
  // the map of no use.
  [[nodiscard]] bool read(std::string_view message, char* to);

  // The first place from `at` on with a quote, a backslash or a control character; the padding is
  // of the latter. REQUIRES: at <= the message's size.
  [[nodiscard]] std::size_t end_of_plain(std::size_t at) const {
    static_assert(std::endian::native == std::endian::little);
    for (;; at = at / 8 * 8 + 64) {
      std::uint64_t bits;
      std::memcpy(&bits, reinterpret_cast<const char*>(special_.data()) + at / 8, sizeof bits);
      bits >>= at % 8;
      if (bits != 0) return at + static_cast<std::size_t>(std::countr_zero(bits));
    }
  }

  // read() for every vector width that this processor has, the widest first. Fills in one word of
  // `special` for each 64 bytes.
  using Way = bool (*)(std::string_view message, char* to, std::uint64_t* special);
  [[nodiscard]] static std::vector<Way> ways();

 private:
  std::vector<std::uint64_t> special_;  // and one word more, all ones
};

}  // namespace trimtab::daemon
