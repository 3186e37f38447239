// Ties: two samples of numbers in one ascending list of distinct values with their counts on either
// side. Every test of ranks and distribution functions reads this list, so that a report over many
// tests sorts a column once.
// Pure functions, any thread. Memory: 16 bytes a distinct value.
#pragma once

#include <cstdint>
#include <vector>

namespace trimtab::drift {

struct Samples;

struct Tie {
  double value = 0.0;
  std::uint32_t reference = 0, current = 0;  // how often it occurs in each

  [[nodiscard]] double in_reference() const { return static_cast<double>(reference); }
  [[nodiscard]] double in_current() const { return static_cast<double>(current); }
  [[nodiscard]] double count() const { return in_reference() + in_current(); }
};

// Ascending. Radix by the bits of the doubles where that is faster than comparing.
// REQUIRES: no NaN.
void sort_numbers(std::vector<double>& values);
// REQUIRES: both ascending, fewer than 2^32 values each.
[[nodiscard]] std::vector<Tie> merge_ties(const std::vector<double>& reference,
                                          const std::vector<double>& current);

// Sorts the numbers of both sides in place and fills samples.ties. REQUIRES: numbers, no weights.
void put_in_order(Samples& samples);
// `samples` itself when it is in order, else an ordered copy in `scratch`.
[[nodiscard]] const Samples& in_order(const Samples& samples, Samples& scratch);

}  // namespace trimtab::drift
