#include "drift/compare/counts.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace trimtab::drift {
namespace {

// Key -> counts of both sides. The table is sorted before anything reads it, so its own order
// never shows.
template <typename Key>
using Table = std::unordered_map<Key, std::pair<double, double>>;

template <typename Key>
Counts sorted_counts(const Table<Key>& table) {
  std::vector<std::pair<Key, std::pair<double, double>>> rows(table.begin(), table.end());
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
  Counts counts;
  if (samples.numeric()) {
    Table<double> table;
    for (const double x : samples.reference.numbers) table[x == 0.0 ? 0.0 : x].first += 1;
    for (const double x : samples.current.numbers) table[x == 0.0 ? 0.0 : x].second += 1;
    counts = sorted_counts(table);
  } else {
    Table<std::string_view> table;
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
