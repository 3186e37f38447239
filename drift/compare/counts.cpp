#include "drift/compare/counts.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace trimtab::drift {
namespace {

// By sorting: numbers are often all distinct, where a hash table is far slower.
Counts counts_of_numbers(const Samples& given) {
  Samples scratch;
  Counts counts;
  for (const Tie& tie : *in_order(given, scratch).ties) {
    counts.reference.push_back(tie.in_reference());
    counts.current.push_back(tie.in_current());
  }
  return counts;
}

// Text -> counts of both sides. The table is sorted before anything reads it, so its own order
// never shows.
using Table = std::unordered_map<std::string_view, std::pair<double, double>>;

Counts sorted_counts(const Table& table) {
  std::vector<std::pair<std::string_view, std::pair<double, double>>> rows(table.begin(),
                                                                           table.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Counts counts;
  for (const auto& [key, pair] : rows) {
    counts.reference.push_back(pair.first);
    counts.current.push_back(pair.second);
  }
  return counts;
}

}  // namespace

Counts count_values(const Samples& samples) {
  if (samples.counts) return *samples.counts;
  Counts counts;
  if (samples.numeric()) {
    counts = counts_of_numbers(samples);
  } else {
    Table table;
    for (const auto& text : samples.reference.categories) table[text].first += 1;
    for (const auto& text : samples.current.categories) table[text].second += 1;
    counts = sorted_counts(table);
  }
  counts.reference_total = static_cast<double>(samples.reference.size());
  counts.current_total = static_cast<double>(samples.current.size());
  return counts;
}

std::size_t cell_of(const std::vector<double>& edges, double value) {
  return static_cast<std::size_t>(std::upper_bound(edges.begin(), edges.end(), value) -
                                  edges.begin());
}

}  // namespace trimtab::drift
