#include "drift/text_stats.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trimtab::drift {
namespace {

constexpr std::size_t kLane = 16;
constexpr std::size_t kMostSteps = 255;  // a byte counts so far
// The compiler's portable vectors: SSE2, NEON. A mask byte is 0xFF (true) or 0.
using Bytes = std::uint8_t __attribute__((vector_size(kLane)));

Bytes all(std::uint8_t value) { return Bytes{} + value; }

// first <= c < first + count, by wrapping subtraction.
Bytes within(const Bytes& c, std::uint8_t first, std::uint8_t count) {
  return reinterpret_cast<Bytes>(c - all(first) < all(count));
}

double sum_of(const Bytes& counts) {
  std::array<std::uint8_t, kLane> each;
  std::memcpy(each.data(), &counts, kLane);
  unsigned sum = 0;
  for (const std::uint8_t count : each) sum += count;
  return static_cast<double>(sum);
}

// Counts of up to 255 steps, one byte a place.
struct Lanes {
  Bytes continuation{}, starts{}, word_chars{}, digits{}, upper{}, punctuation{}, high{};

  // `before`: the word mask of the step before; its last byte matters. Returns this step's.
  Bytes step(const Bytes& c, const Bytes& before) {
    const Bytes digit = within(c, '0', 10);
    const Bytes capital = within(c, 'A', 26);
    const Bytes beyond = within(c, 0x80, 0x80);
    const Bytes follows = within(c, 0x80, 0x40);
    const Bytes word = within(c, 'a', 26) | capital | digit | beyond;
    const Bytes shifted = __builtin_shuffle(
        before, word, Bytes{15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30});
    // A mask is -1 a byte: subtracting it counts one.
    continuation -= follows;
    starts -= word & ~shifted;
    word_chars -= word & ~follows;
    digits -= digit;
    upper -= capital;
    punctuation -= within(c, '!', 0x7F - '!') & ~word;
    high -= beyond & ~follows;
    return word;
  }

  void add_to(TextStats& stats) const {
    stats.chars -= sum_of(continuation);
    stats.words += sum_of(starts);
    stats.word_chars += sum_of(word_chars);
    stats.digits += sum_of(digits);
    stats.upper += sum_of(upper);
    stats.punctuation += sum_of(punctuation);
    stats.non_ascii += sum_of(high);
  }
};

TextStats narrow_stats(std::string_view text) {
  TextStats stats;
  stats.chars = static_cast<double>(text.size());
  Bytes word{};
  while (!text.empty()) {
    Lanes lanes;
    for (std::size_t step = 0; step < kMostSteps && !text.empty(); ++step) {
      Bytes c = all(' ');  // the last step is filled up with spaces
      const std::size_t size = std::min(text.size(), kLane);
      if (size == kLane) {
        std::memcpy(&c, text.data(), kLane);
      } else {
        std::memcpy(&c, text.data(), size);
      }
      word = lanes.step(c, word);
      text.remove_prefix(size);
    }
    lanes.add_to(stats);
  }
  return stats;
}

#if defined(__x86_64__)

// The same by masks of 64 bytes, one bit a byte.
struct Masks {
  std::uint64_t lower, upper, digit, high, follows, printed;
};

class Counts {
 public:
  [[gnu::always_inline]] void add(const Masks& m) {
    const std::uint64_t word = m.lower | m.upper | m.digit | m.high;
    continuation_ += __builtin_popcountll(m.follows);
    starts_ += __builtin_popcountll(word & ~(word << 1 | carry_));
    word_chars_ += __builtin_popcountll(word & ~m.follows);
    digits_ += __builtin_popcountll(m.digit);
    upper_ += __builtin_popcountll(m.upper);
    punctuation_ += __builtin_popcountll(m.printed & ~word);
    high_ += __builtin_popcountll(m.high & ~m.follows);
    carry_ = word >> 63;
  }
  [[nodiscard]] TextStats stats(std::size_t bytes) const {
    TextStats stats;
    stats.chars = static_cast<double>(static_cast<std::int64_t>(bytes) - continuation_);
    stats.words = static_cast<double>(starts_);
    stats.word_chars = static_cast<double>(word_chars_);
    stats.digits = static_cast<double>(digits_);
    stats.upper = static_cast<double>(upper_);
    stats.punctuation = static_cast<double>(punctuation_);
    stats.non_ascii = static_cast<double>(high_);
    return stats;
  }

 private:
  std::int64_t continuation_ = 0, starts_ = 0, word_chars_ = 0, digits_ = 0, upper_ = 0;
  std::int64_t punctuation_ = 0, high_ = 0;
  std::uint64_t carry_ = 0;
};

// Calls masks(64 bytes) for each block; last(bytes, how many of them) fills up with spaces.
template <typename MasksOf, typename LastOf>
[[gnu::always_inline]] inline TextStats wide_stats(std::string_view text, MasksOf masks,
                                                   LastOf last) {
  Counts counts;
  std::size_t at = 0;
  for (; at + 64 <= text.size(); at += 64) counts.add(masks(text.data() + at));
  if (at < text.size()) counts.add(last(text.data() + at, text.size() - at));
  return counts.stats(text.size());
}

[[gnu::target("avx2,popcnt")]] inline std::uint32_t within_avx2(__m256i c, int first, int count) {
  const __m256i off = _mm256_sub_epi8(c, _mm256_set1_epi8(static_cast<char>(first)));
  const __m256i most = _mm256_set1_epi8(static_cast<char>(count - 1));
  return static_cast<std::uint32_t>(
      _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(off, most), off)));
}

[[gnu::target("avx2,popcnt")]] inline Masks half_avx2(const char* from) {
  const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return {within_avx2(c, 'a', 26),
          within_avx2(c, 'A', 26),
          within_avx2(c, '0', 10),
          static_cast<std::uint32_t>(_mm256_movemask_epi8(c)),
          within_avx2(c, 0x80, 0x40),
          within_avx2(c, '!', 0x7F - '!')};
}

[[gnu::target("avx2,popcnt")]] inline Masks masks_avx2(const char* from) {
  const Masks low = half_avx2(from);
  const Masks high = half_avx2(from + 32);
  return {low.lower | high.lower << 32,     low.upper | high.upper << 32,
          low.digit | high.digit << 32,     low.high | high.high << 32,
          low.follows | high.follows << 32, low.printed | high.printed << 32};
}

[[gnu::target("avx2,popcnt")]] inline Masks last_avx2(const char* from, std::size_t size) {
  std::array<char, 64> last;
  last.fill(' ');
  std::memcpy(last.data(), from, size);
  return masks_avx2(last.data());
}

[[gnu::target("avx2,popcnt")]] TextStats stats_avx2(std::string_view text) {
  return wide_stats(text, masks_avx2, last_avx2);
}

#define TRIMTAB_WIDE "avx512f,avx512bw,popcnt"

[[gnu::target(TRIMTAB_WIDE)]] inline std::uint64_t within_avx512(__m512i c, int first,
                                                                              int count) {
  const __m512i off = _mm512_sub_epi8(c, _mm512_set1_epi8(static_cast<char>(first)));
  return _mm512_cmplt_epu8_mask(off, _mm512_set1_epi8(static_cast<char>(count)));
}

[[gnu::target(TRIMTAB_WIDE)]] inline Masks masks_avx512(__m512i c) {
  return {within_avx512(c, 'a', 26),
          within_avx512(c, 'A', 26),
          within_avx512(c, '0', 10),
          _mm512_movepi8_mask(c),
          within_avx512(c, 0x80, 0x40),
          within_avx512(c, '!', 0x7F - '!')};
}

[[gnu::target(TRIMTAB_WIDE)]] TextStats stats_avx512(std::string_view text) {
  return wide_stats(
      text,
      [](const char* from) __attribute__((target(TRIMTAB_WIDE))) {
        return masks_avx512(_mm512_loadu_si512(from));
      },
      // Bytes that are masked out are not read.
      [](const char* from, std::size_t size) __attribute__((target(TRIMTAB_WIDE))) {
        const __mmask64 there = ~std::uint64_t{0} >> (64 - size);
        return masks_avx512(_mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, from));
      });
}

#undef TRIMTAB_WIDE
#endif

}  // namespace

std::vector<TextStatsWay> text_stats_ways() {
  std::vector<TextStatsWay> ways;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool counts_bits = __builtin_cpu_supports("popcnt") != 0;
  if (counts_bits && __builtin_cpu_supports("avx512bw")) ways.push_back(&stats_avx512);
  if (counts_bits && __builtin_cpu_supports("avx2")) ways.push_back(&stats_avx2);
#endif
  ways.push_back(&narrow_stats);
  return ways;
}

TextStats text_stats(std::string_view text) {
  static const TextStatsWay kFastest = text_stats_ways().front();
  return kFastest(text);
}

}  // namespace trimtab::drift
