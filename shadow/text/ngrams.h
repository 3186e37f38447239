// Counts of n-grams over numbered words or code points. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace trimtab::shadow {

template <typename Sequence>
using NgramCounts = std::map<Sequence, std::int64_t>;

// Adds the n-grams of `items` of that order.
template <typename Sequence>
void count_ngrams(const Sequence& items, std::size_t order, NgramCounts<Sequence>& counts) {
  for (std::size_t i = 0; i + order <= items.size(); ++i) {
    const auto begin = items.begin() + static_cast<std::ptrdiff_t>(i);
    ++counts[Sequence(begin, begin + static_cast<std::ptrdiff_t>(order))];
  }
}

template <typename Sequence>
std::int64_t total(const NgramCounts<Sequence>& counts) {
  std::int64_t sum = 0;
  for (const auto& [ngram, count] : counts) sum += count;
  return sum;
}

// Sum of the smaller counts.
template <typename Sequence>
std::int64_t matches(const NgramCounts<Sequence>& a, const NgramCounts<Sequence>& b) {
  std::int64_t sum = 0;
  for (const auto& [ngram, count] : a) {
    const auto found = b.find(ngram);
    if (found != b.end()) sum += count < found->second ? count : found->second;
  }
  return sum;
}

}  // namespace trimtab::shadow
