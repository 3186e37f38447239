#include "drift/compare/binning.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr std::size_t kDistinctAsCategories = 20;  // Evidently
constexpr double kMostBins = 1e6;

struct Range {
  double low, high;
};

Range range_of(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {*low, *high};
}

Range pooled_range(const Samples& samples) {
  if (samples.ties) return {samples.ties->front().value, samples.ties->back().value};
  const Range a = range_of(samples.reference.numbers);
  const Range b = range_of(samples.current.numbers);
  return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

// numpy.histogram_bin_edges: linspace, a single value gets a cell of width 1 around it.
std::vector<double> equal_edges(Range range, std::size_t bins) {
  if (range.low == range.high) range = {range.low - 0.5, range.high + 0.5};
  const double step = (range.high - range.low) / static_cast<double>(bins);
  std::vector<double> edges(bins + 1);
  for (std::size_t i = 0; i < bins; ++i) edges[i] = static_cast<double>(i) * step + range.low;
  edges[bins] = range.high;
  return edges;
}

Result<std::size_t> bins_of_width(Range range, double width) {
  if (width <= 0.0) return std::size_t{1};
  const double bins = std::ceil((range.high - range.low) / width);
  if (!(bins <= kMostBins)) return fail(Code::kInvalid, "the range is too wide for equal bins");
  return static_cast<std::size_t>(std::max(bins, 1.0));
}

double doane_width(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  if (n <= 2) return 0.0;
  double mean = 0.0, square = 0.0, cube = 0.0;
  for (const double x : values) mean += x / n;
  for (const double x : values) square += (x - mean) * (x - mean) / n;
  const double sigma = std::sqrt(square);
  if (sigma <= 0.0) return 0.0;
  for (const double x : values) cube += std::pow((x - mean) / sigma, 3) / n;
  const double expected = std::sqrt(6.0 * (n - 2) / ((n + 1.0) * (n + 3)));
  const Range range = range_of(values);
  return (range.high - range.low) /
         (1.0 + std::log2(n) + std::log2(1.0 + std::abs(cube) / expected));
}

// At most so many distinct values that each is a category. One pass, which ends early.
bool few_distinct(const std::vector<double>& values) {
  std::vector<double> seen;  // sorted
  for (const double x : values) {
    const auto at = std::lower_bound(seen.begin(), seen.end(), x);
    if (at != seen.end() && *at == x) continue;
    if (seen.size() == kDistinctAsCategories) return false;
    seen.insert(at, x);
  }
  return true;
}

// How many values lie below each edge. REQUIRES: both ascending.
std::vector<double> values_below(const std::vector<double>& edges,
                                 const std::vector<double>& sorted) {
  std::vector<double> below;
  for (const double edge : edges) {
    below.push_back(
        static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), edge) - sorted.begin()));
  }
  return below;
}

// Cells 0..bins-1 between the outer edges, and one more (index bins) for all outside.
std::vector<double> closed_sorted(const std::vector<double>& edges,
                                  const std::vector<double>& sorted) {
  std::vector<double> below = values_below(edges, sorted);
  const double outside = below.front();
  below.back() = static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), edges.back()) -
                                     sorted.begin());
  std::vector<double> cells;
  for (std::size_t i = 0; i + 1 < below.size(); ++i) cells.push_back(below[i + 1] - below[i]);
  cells.push_back(outside + static_cast<double>(sorted.size()) - below.back());
  return cells;
}

// The same of values in any order.
std::vector<double> closed_unsorted(const std::vector<double>& edges,
                                    const std::vector<double>& values) {
  std::vector<double> cells(edges.size(), 0.0);
  for (const double x : values) {
    const std::size_t above = cell_of(edges, x);  // edges <= x
    if (x == edges.back()) {
      cells[edges.size() - 2] += 1;
    } else if (above == 0 || above == edges.size()) {
      cells[edges.size() - 1] += 1;
    } else {
      cells[above - 1] += 1;
    }
  }
  return cells;
}

Counts closed_cells(const Samples& samples, const std::vector<double>& edges) {
  const auto fill = samples.ties ? &closed_sorted : &closed_unsorted;
  Counts counts{.reference = fill(edges, samples.reference.numbers),
                .current = fill(edges, samples.current.numbers)};
  if (counts.reference.back() + counts.current.back() == 0.0) {
    counts.reference.pop_back();
    counts.current.pop_back();
  }
  return counts;
}

Counts quantile_cells(const Samples& given, std::int64_t bins) {
  Samples scratch;
  const Samples& samples = in_order(given, scratch);
  const std::vector<double>& sorted = samples.reference.numbers;
  std::vector<double> edges;
  for (std::int64_t i = 1; i < bins; ++i) {
    edges.push_back(sorted_quantile(sorted, static_cast<double>(i) / static_cast<double>(bins)));
  }
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  Counts counts;
  for (const bool first : {true, false}) {
    const auto& values = first ? samples.reference.numbers : samples.current.numbers;
    std::vector<double> below = values_below(edges, values);
    below.insert(below.begin(), 0.0);
    below.push_back(static_cast<double>(values.size()));
    auto& cells = first ? counts.reference : counts.current;
    for (std::size_t i = 0; i + 1 < below.size(); ++i) cells.push_back(below[i + 1] - below[i]);
  }
  return counts;
}

Result<Counts> cells(const Samples& samples, const Parameters& parameters) {
  const std::string& rule = parameters.text("binning");
  if (!samples.numeric()) {
    if (rule == "auto") return count_values(samples);
    return fail(Code::kInvalid, "binning=" + rule + " wants numbers, and these are texts");
  }
  if (rule == "auto" && few_distinct(samples.reference.numbers)) return count_values(samples);
  if (rule == "quantile") return quantile_cells(samples, parameters.integer("bins"));
  if (rule == "width") {
    const auto bins = static_cast<std::size_t>(parameters.integer("bins"));
    return closed_cells(samples, equal_edges(pooled_range(samples), bins));
  }
  if (rule == "doane") {
    const Range range = range_of(samples.reference.numbers);
    TRIMTAB_TRY(const std::size_t bins,
                bins_of_width(range, doane_width(samples.reference.numbers)));
    return closed_cells(samples, equal_edges(range, bins));
  }
  const Range range = pooled_range(samples);
  const auto n = static_cast<double>(samples.reference.size() + samples.current.size());
  // The quotient of quotients is numpy's: its rounding decides between two neighbours.
  TRIMTAB_TRY(const std::size_t bins,
              bins_of_width(range, (range.high - range.low) / (std::log2(n) + 1.0)));
  return closed_cells(samples, equal_edges(range, bins));
}

// numpy's linear interpolation.
double between(double low, double high, double part) {
  const double gap = high - low;
  return part >= 0.5 ? high - gap * (1.0 - part) : low + gap * part;
}

}  // namespace

double sorted_quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(at));
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return between(sorted[low], sorted[high], at - static_cast<double>(low));
}

double pooled_quantile(const std::vector<Tie>& ties, double q) {
  double total = 0.0;
  for (const Tie& tie : ties) total += tie.count();
  const double at = q * (total - 1.0);
  const double low = std::floor(at);
  double before = 0.0;
  for (std::size_t i = 0; i < ties.size(); ++i) {
    before += ties[i].count();
    if (before <= low) continue;
    const bool next = before <= low + 1.0 && i + 1 < ties.size();
    return between(ties[i].value, ties[next ? i + 1 : i].value, at - low);
  }
  return ties.back().value;
}

Result<Counts> shares_of_cells(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(Counts shares, cells(samples, parameters));
  for (double& share : shares.reference) share /= static_cast<double>(samples.reference.size());
  for (double& share : shares.current) share /= static_cast<double>(samples.current.size());
  shares.reference_total = shares.current_total = 1.0;
  return shares;
}

}  // namespace trimtab::drift
