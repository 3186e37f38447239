#include "drift/text_stats.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

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

}  // namespace

TextStats text_stats(std::string_view text) {
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

}  // namespace trimtab::drift
