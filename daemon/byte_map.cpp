#include "daemon/byte_map.h"

#include <simdjson.h>

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trimtab::daemon {
namespace {

// Copies what is left behind `at`, and zeros behind it: where a message ends there may be no memory
// to read on, so the last block is read from its copy.
void copy_rest(std::string_view message, std::size_t at, char* to) {
  if (at < message.size()) std::memcpy(to + at, message.data() + at, message.size() - at);
  std::memset(to + message.size(), 0, ByteMap::kPadding);
}

bool read_narrow(std::string_view message, char* to, std::uint64_t* special) {
  copy_rest(message, 0, to);
  std::uint8_t high = 0;
  for (std::size_t at = 0; at <= message.size(); at += 64, ++special) {
    *special = 0;
    for (std::size_t i = 0; i < 64; ++i) {
      const auto c = static_cast<std::uint8_t>(to[at + i]);
      *special |= static_cast<std::uint64_t>(c == '"' || c == '\\' || c < 0x20) << i;
      high |= c;
    }
  }
  return high < 0x80 || simdjson::validate_utf8(message.data(), message.size());
}

#if defined(__x86_64__)

// UTF-8 by the masks of a block, one bit a byte (Unicode 15, table 3-7): continuations stand where
// the leading bytes want them and nowhere else, and four of these narrow the byte behind them.
struct Classes {
  std::uint64_t continuation, two, three, four;  // 80-BF; C2-DF; E0-EF; F0-F4
  std::uint64_t high;                            // 80-FF
  std::uint64_t upto_8f, upto_9f;                // 80-8F, 80-9F
  std::uint64_t e0, ed, f0, f4;
};

class Utf8 {
 public:
  [[gnu::always_inline]] void add(const Classes& c) {
    const std::uint64_t first = c.two | c.three | c.four, second = c.three | c.four;
    const std::uint64_t wanted = (first << 1 | first_ >> 63) | (second << 2 | second_ >> 62) |
                                 (c.four << 3 | four_ >> 61);
    const std::uint64_t behind_e0 = c.e0 << 1 | e0_ >> 63, behind_ed = c.ed << 1 | ed_ >> 63;
    const std::uint64_t behind_f0 = c.f0 << 1 | f0_ >> 63, behind_f4 = c.f4 << 1 | f4_ >> 63;
    bad_ |= (wanted ^ c.continuation) | (c.high ^ (c.continuation | first)) |
            (behind_e0 & c.upto_9f) | (behind_ed & ~c.upto_9f) | (behind_f0 & c.upto_8f) |
            (behind_f4 & ~c.upto_8f);
    first_ = first, second_ = second, four_ = c.four;
    e0_ = c.e0, ed_ = c.ed, f0_ = c.f0, f4_ = c.f4;
  }
  // Nothing that the block before has left open.
  [[nodiscard]] bool closed() const {
    return (first_ >> 63 | second_ >> 62 | four_ >> 61) == 0;
  }
  [[nodiscard]] bool good() const { return bad_ == 0 && closed(); }

 private:
  std::uint64_t bad_ = 0;
  std::uint64_t first_ = 0, second_ = 0, four_ = 0, e0_ = 0, ed_ = 0, f0_ = 0, f4_ = 0;
};

[[gnu::target("avx2")]] inline std::uint32_t within_avx2(__m256i c, int first, int last) {
  const __m256i off = _mm256_sub_epi8(c, _mm256_set1_epi8(static_cast<char>(first)));
  const __m256i most = _mm256_set1_epi8(static_cast<char>(last - first));
  return static_cast<std::uint32_t>(
      _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(off, most), off)));
}

[[gnu::target("avx2")]] inline std::uint64_t within_avx2(__m256i low, __m256i high, int first,
                                                         int last) {
  return within_avx2(low, first, last) |
         static_cast<std::uint64_t>(within_avx2(high, first, last)) << 32;
}

[[gnu::target("avx2")]] inline Classes classes_avx2(__m256i low, __m256i high) {
  const auto of = [&](int first, int last) __attribute__((target("avx2"))) {
    return within_avx2(low, high, first, last);
  };
  return {of(0x80, 0xBF), of(0xC2, 0xDF), of(0xE0, 0xEF), of(0xF0, 0xF4),
          of(0x80, 0xFF), of(0x80, 0x8F), of(0x80, 0x9F), of(0xE0, 0xE0),
          of(0xED, 0xED), of(0xF0, 0xF0), of(0xF4, 0xF4)};
}

[[gnu::always_inline, gnu::target("avx2")]] inline void block_avx2(const char* from, char* to,
                                                                   std::uint64_t* special,
                                                                   Utf8& utf8) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), high);
  *special = within_avx2(low, high, '"', '"') | within_avx2(low, high, '\\', '\\') |
             within_avx2(low, high, 0, 0x1F);
  const bool ascii = _mm256_movemask_epi8(_mm256_or_si256(low, high)) == 0;
  if (!ascii || !utf8.closed()) utf8.add(classes_avx2(low, high));
}

[[gnu::target("avx2")]] bool read_avx2(std::string_view message, char* to,
                                       std::uint64_t* special) {
  Utf8 utf8;
  std::size_t at = 0;
  for (; at + 64 <= message.size(); at += 64) {
    block_avx2(message.data() + at, to + at, special + at / 64, utf8);
  }
  copy_rest(message, at, to);
  block_avx2(to + at, to + at, special + at / 64, utf8);
  return utf8.good();
}

#define TRIMTAB_WIDE "avx512f,avx512bw"

[[gnu::target(TRIMTAB_WIDE)]] inline std::uint64_t within_avx512(__m512i c, int first, int last) {
  const __m512i off = _mm512_sub_epi8(c, _mm512_set1_epi8(static_cast<char>(first)));
  return _mm512_cmple_epu8_mask(off, _mm512_set1_epi8(static_cast<char>(last - first)));
}

[[gnu::target(TRIMTAB_WIDE)]] inline Classes classes_avx512(__m512i c) {
  return {within_avx512(c, 0x80, 0xBF), within_avx512(c, 0xC2, 0xDF),
          within_avx512(c, 0xE0, 0xEF), within_avx512(c, 0xF0, 0xF4),
          within_avx512(c, 0x80, 0xFF), within_avx512(c, 0x80, 0x8F),
          within_avx512(c, 0x80, 0x9F), within_avx512(c, 0xE0, 0xE0),
          within_avx512(c, 0xED, 0xED), within_avx512(c, 0xF0, 0xF0),
          within_avx512(c, 0xF4, 0xF4)};
}

[[gnu::always_inline, gnu::target(TRIMTAB_WIDE)]] inline void block_avx512(
    const char* from, char* to, std::uint64_t* special, Utf8& utf8) {
  const __m512i c = _mm512_loadu_si512(from);
  _mm512_storeu_si512(to, c);
  *special = _mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8('"')) |
             _mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8('\\')) |
             _mm512_cmplt_epu8_mask(c, _mm512_set1_epi8(0x20));
  const bool ascii = _mm512_movepi8_mask(c) == 0;
  if (!ascii || !utf8.closed()) utf8.add(classes_avx512(c));
}

[[gnu::target(TRIMTAB_WIDE)]] bool read_avx512(std::string_view message, char* to,
                                               std::uint64_t* special) {
  Utf8 utf8;
  std::size_t at = 0;
  for (; at + 64 <= message.size(); at += 64) {
    block_avx512(message.data() + at, to + at, special + at / 64, utf8);
  }
  copy_rest(message, at, to);
  block_avx512(to + at, to + at, special + at / 64, utf8);
  return utf8.good();
}

#undef TRIMTAB_WIDE
#endif

}  // namespace

std::vector<ByteMap::Way> ByteMap::ways() {
  std::vector<Way> all;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw")) all.push_back(&read_avx512);
  if (__builtin_cpu_supports("avx2")) all.push_back(&read_avx2);
#endif
  all.push_back(&read_narrow);
  return all;
}

bool ByteMap::read(std::string_view message, char* to) {
  static const Way kFastest = ways().front();
  const std::size_t blocks = message.size() / 64 + 1;
  if (special_.size() < blocks + 1) special_.resize(2 * blocks + 1);
  special_[blocks] = ~std::uint64_t{0};
  return kFastest(message, to, special_.data());
}

}  // namespace trimtab::daemon
