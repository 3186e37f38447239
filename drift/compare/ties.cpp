#include "drift/compare/ties.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <memory>
#include <utility>

#include "base/check.h"
#include "drift/compare/window_test.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kRadixPays = 4096;
constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = 6;  // 6 x 11 bits hold 64
constexpr std::uint64_t kDigitMask = (1U << kDigitBits) - 1;

// Order-preserving: negative numbers are flipped whole, the others get the sign bit.
std::uint64_t key_of(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  return (bits >> 63) != 0 ? ~bits : bits | 1ULL << 63;
}
double value_of(std::uint64_t key) {
  return std::bit_cast<double>((key >> 63) != 0 ? key & ~(1ULL << 63) : ~key);
}
std::size_t digit_of(std::uint64_t key, std::size_t digit) {
  return key >> (digit * kDigitBits) & kDigitMask;
}

using Histogram = std::array<std::uint32_t, std::size_t{1} << kDigitBits>;

}  // namespace

// Least significant digit first; a digit that all keys share is skipped.
void sort_numbers(std::vector<double>& values) {
  if (values.size() < kRadixPays || values.size() > std::numeric_limits<std::uint32_t>::max()) {
    std::sort(values.begin(), values.end());
    return;
  }
  std::vector<Histogram> counts(kDigits);
  std::vector<std::uint64_t> keys(values.size());
  std::vector<std::uint64_t> other(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    keys[i] = key_of(values[i]);
    for (std::size_t d = 0; d < kDigits; ++d) ++counts[d][digit_of(keys[i], d)];
  }
  for (std::size_t d = 0; d < kDigits; ++d) {
    Histogram& histogram = counts[d];
    if (histogram[digit_of(keys[0], d)] == keys.size()) continue;
    std::uint32_t before = 0;
    for (std::uint32_t& count : histogram) before += std::exchange(count, before);
    for (const std::uint64_t key : keys) other[histogram[digit_of(key, d)]++] = key;
    keys.swap(other);
  }
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = value_of(keys[i]);
}

std::vector<Tie> merge_ties(const std::vector<double>& reference,
                            const std::vector<double>& current) {
  CHECK(std::max(reference.size(), current.size()) <= std::numeric_limits<std::uint32_t>::max(),
        "samples of more than 2^32 values");
  std::vector<Tie> ties;
  ties.reserve(reference.size() + current.size());
  std::size_t i = 0, j = 0;
  while (i < reference.size() || j < current.size()) {
    const double x = j == current.size() || (i < reference.size() && reference[i] <= current[j])
                         ? reference[i]
                         : current[j];
    Tie tie{x, 0, 0};
    for (; i < reference.size() && reference[i] == x; ++i) ++tie.reference;
    for (; j < current.size() && current[j] == x; ++j) ++tie.current;
    ties.push_back(tie);
  }
  return ties;
}

void put_in_order(Samples& samples) {
  sort_numbers(samples.reference.numbers);
  sort_numbers(samples.current.numbers);
  samples.ties = std::make_shared<const std::vector<Tie>>(
      merge_ties(samples.reference.numbers, samples.current.numbers));
}

const Samples& in_order(const Samples& samples, Samples& scratch) {
  if (samples.ties) return samples;
  scratch.reference.numbers = samples.reference.numbers;
  scratch.current.numbers = samples.current.numbers;
  put_in_order(scratch);
  return scratch;
}

}  // namespace trimtab::drift
