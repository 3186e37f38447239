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

bool few_distinct(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto end = std::unique(values.begin(), values.end());
  return static_cast<std::size_t>(end - values.begin()) <= kDistinctAsCategories;
}

// Cells 0..bins-1 between the outer edges, and one more (index bins) for all outside.
void fill_closed(const std::vector<double>& edges, const std::vector<double>& values,
                 std::vector<double>& cells) {
  cells.assign(edges.size(), 0.0);
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
}

Counts closed_cells(const Samples& samples, const std::vector<double>& edges) {
  Counts counts;
  fill_closed(edges, samples.reference.numbers, counts.reference);
  fill_closed(edges, samples.current.numbers, counts.current);
  if (counts.reference.back() + counts.current.back() == 0.0) {
    counts.reference.pop_back();
    counts.current.pop_back();
  }
  return counts;
}

Counts quantile_cells(const Samples& samples, std::int64_t bins) {
  std::vector<double> sorted = samples.reference.numbers;
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> edges;
  for (std::int64_t i = 1; i < bins; ++i) {
    edges.push_back(sorted_quantile(sorted, static_cast<double>(i) / static_cast<double>(bins)));
  }
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  Counts counts;
  counts.reference.assign(edges.size() + 1, 0.0);
  counts.current.assign(edges.size() + 1, 0.0);
  for (const double x : samples.reference.numbers) counts.reference[cell_of(edges, x)] += 1;
  for (const double x : samples.current.numbers) counts.current[cell_of(edges, x)] += 1;
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

}  // namespace

double sorted_quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(at));
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(low);
  const double gap = sorted[high] - sorted[low];
  return part >= 0.5 ? sorted[high] - gap * (1.0 - part) : sorted[low] + gap * part;
}

Result<Counts> shares_of_cells(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(Counts shares, cells(samples, parameters));
  for (double& share : shares.reference) share /= static_cast<double>(samples.reference.size());
  for (double& share : shares.current) share /= static_cast<double>(samples.current.size());
  shares.reference_total = shares.current_total = 1.0;
  return shares;
}

}  // namespace trimtab::drift
