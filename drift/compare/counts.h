// Two samples as counts over the union of their distinct values, in sorted order: numbers by value,
// text by bytes. O(n log k).
#pragma once

#include <vector>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

struct Counts {
  std::vector<double> reference;  // one a category, counts or shares
  std::vector<double> current;
  double reference_total = 0.0;
  double current_total = 0.0;
  [[nodiscard]] std::size_t categories() const { return reference.size(); }
};

[[nodiscard]] Counts count_values(const Samples& samples);

// How many of the sorted edges are <= value: the index among the cells ..e0) [e0,e1) .. [ek...
[[nodiscard]] std::size_t cell_of(const std::vector<double>& edges, double value);

}  // namespace trimtab::drift
