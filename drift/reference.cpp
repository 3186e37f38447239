#include "drift/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "base/check.h"

namespace trimtab::drift {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return text;
}

// Walks sorted values and places edges so that bins hold about equal mass.
class EdgePlacer {
 public:
  explicit EdgePlacer(std::span<const double> sorted) : sorted_(sorted) {}

  std::vector<double> place() {
    const std::size_t n = sorted_.size();
    const double atom = static_cast<double>(n) / static_cast<double>(kValueBins);
    for (std::size_t i = 0; i < n;) {
      std::size_t end = i + 1;
      while (end < n && sorted_[end] == sorted_[i]) ++end;
      const std::size_t tied = end - i;
      const bool is_atom = static_cast<double>(tied) >= atom && tied > 1;
      const bool full = static_cast<double>(in_bin_) + 0.5 * static_cast<double>(tied) >=
                        static_cast<double>(n - i + in_bin_) / static_cast<double>(left());
      if (i == 0 ? is_atom : (is_atom || after_atom_ || full)) close_before(sorted_[i]);
      in_bin_ += tied;
      after_atom_ = is_atom;
      i = end;
    }
    // Above an atom at the maximum nothing was seen: that is a bin of its own.
    if (n > 0 && after_atom_) close_before(std::nextafter(sorted_[n - 1], kInfinity));
    return std::move(edges_);
  }

 private:
  [[nodiscard]] std::size_t left() const { return kValueBins - edges_.size(); }
  void close_before(double edge) {
    if (edges_.size() + 1 >= kValueBins) return;
    edges_.push_back(edge);
    in_bin_ = 0;
  }
  std::span<const double> sorted_;
  std::vector<double> edges_;
  std::size_t in_bin_ = 0;
  bool after_atom_ = false;
};

}  // namespace

namespace {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors never leave these functions

template <typename T, std::size_t kBytes>
using Lanes __attribute__((vector_size(kBytes))) = T;

// The number of edges <= x of kLanes values at a time, one edge after the other: at this width
// cheaper than kLanes searches. Returns how many values were done.
template <std::size_t kLanes, typename Values, typename Counts, typename Bins>
[[gnu::always_inline]] inline std::size_t count_edges(const double* edges,
                                                      std::span<const double> values,
                                                      std::uint8_t missing, std::uint8_t* bins) {
  std::size_t at = 0;
  for (; at + kLanes <= values.size(); at += kLanes) {
    Values x;
    std::memcpy(&x, &values[at], sizeof x);
    Counts count{};
    for (std::size_t edge = 0; edge + 1 < kValueBins; ++edge) {
      count -= (Values{} + edges[edge]) <= x;  // true is -1
    }
    const Counts found = (x - x == Values{}) ? count : Counts{} + std::int64_t{missing};
    const Bins narrow = __builtin_convertvector(found, Bins);
    std::memcpy(bins + at, &narrow, sizeof narrow);
  }
  return at;
}

#pragma GCC diagnostic pop

using CountEdges = std::size_t (*)(const double* edges, std::span<const double> values,
                                   std::uint8_t missing, std::uint8_t* bins);
#if defined(__x86_64__)
[[gnu::target("avx2")]] std::size_t count_avx2(const double* edges, std::span<const double> values,
                                               std::uint8_t missing, std::uint8_t* bins) {
  return count_edges<4, Lanes<double, 32>, Lanes<std::int64_t, 32>, Lanes<std::uint8_t, 4>>(
      edges, values, missing, bins);
}
[[gnu::target("avx512f,avx512bw,avx512vl,avx512dq")]] std::size_t count_avx512(
    const double* edges, std::span<const double> values, std::uint8_t missing,
    std::uint8_t* bins) {
  return count_edges<8, Lanes<double, 64>, Lanes<std::int64_t, 64>, Lanes<std::uint8_t, 8>>(
      edges, values, missing, bins);
}
#endif

std::size_t count_none(const double*, std::span<const double>, std::uint8_t, std::uint8_t*) {
  return 0;
}

CountEdges widest_count() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return &count_avx512;
  }
  if (__builtin_cpu_supports("avx2")) return &count_avx2;
#endif
  return &count_none;
}

}  // namespace

void Reference::bins_of(std::span<const double> values, std::uint8_t* bins) const {
  static const CountEdges kWidest = widest_count();
  std::size_t at = kWidest(edges_.data(), values, static_cast<std::uint8_t>(missing_bin()), bins);
  for (; at < values.size(); ++at) bins[at] = static_cast<std::uint8_t>(bin_of(values[at]));
}

void Reference::set_masses() {
  double total = 0.0;
  masses_.assign(counts_.size(), 0.0);
  for (std::size_t b = 0; b < counts_.size(); ++b) {
    masses_[b] = static_cast<double>(std::max(counts_[b], kFloorCount));
    total += masses_[b];
  }
  for (double& mass : masses_) mass /= total;
}

void Reference::set_slots() {
  slots_.fill(kFree);
  for (std::size_t i = 0; i < hashes_.size(); ++i) {
    std::size_t at = hashes_[i] >> 58;
    while (slots_[at] != kFree) at = (at + 1) % kSlots;
    slots_[at] = static_cast<std::uint8_t>(i);
  }
}

Reference Reference::from_numbers(std::vector<double> values) {
  CHECK(!values.empty(), "a reference needs values");
  Reference result;
  result.size_ = static_cast<std::int64_t>(values.size());
  const auto present_end =
      std::partition(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
  std::sort(values.begin(), present_end);
  const std::span<const double> sorted(values.data(),
                                       static_cast<std::size_t>(present_end - values.begin()));
  const std::vector<double> edges = EdgePlacer(sorted).place();
  result.edge_count_ = edges.size();
  result.edges_.fill(kInfinity);
  std::copy(edges.begin(), edges.end(), result.edges_.begin());
  result.counts_.assign(edges.size() + 2, 0);
  for (const double x : sorted) ++result.counts_[result.bin_of(x)];
  result.counts_.back() = result.size_ - static_cast<std::int64_t>(sorted.size());
  result.set_masses();
  return result;
}

namespace {

void sort_by_count(std::vector<CategoryCount>& counts) {
  std::sort(counts.begin(), counts.end(), [](const CategoryCount& a, const CategoryCount& b) {
    return a.count != b.count ? a.count > b.count : a.hash < b.hash;
  });
}

// Share of what lies outside the `kept` most frequent categories, when one half of the events
// chooses and the other is counted, both ways round. nullopt when the halves are not known.
std::optional<double> unlucky_tail(const std::vector<CategoryCount>& counts, std::size_t kept) {
  std::int64_t tail = 0, total = 0;
  for (const bool first : {true, false}) {
    std::vector<CategoryCount> chosen = counts;
    for (CategoryCount& one : chosen) {
      const std::int64_t other = one.count - one.half;
      one.count = first ? one.half : other;
      one.half = first ? other : one.half;
    }
    sort_by_count(chosen);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      total += chosen[i].half;
      if (i >= kept) tail += chosen[i].half;
    }
  }
  const bool known = std::any_of(counts.begin(), counts.end(),
                                 [](const CategoryCount& one) { return one.half > 0; });
  if (!known || total == 0) return std::nullopt;
  return static_cast<double>(tail) / static_cast<double>(total);
}

}  // namespace

// The sum stays.
void Reference::give_to_other(std::vector<std::int64_t>& counts) const {
  const std::size_t other = counts.size() - 2;
  for (std::size_t b = 0; b < other; ++b) {
    const auto given =
        static_cast<std::int64_t>(std::round(static_cast<double>(counts[b]) * lucky_));
    counts[b] -= given;
    counts[other] += given;
  }
}

Reference Reference::from_categories(std::vector<CategoryCount> counts, std::int64_t missing) {
  sort_by_count(counts);
  Reference result;
  result.ordered_ = false;
  const std::size_t kept = std::min(counts.size(), kValueBins - 1);
  std::vector<std::pair<std::uint64_t, std::uint8_t>> index;
  std::int64_t other = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    result.size_ += counts[i].count;
    if (i < kept) {
      index.emplace_back(counts[i].hash, static_cast<std::uint8_t>(i));
      result.counts_.push_back(counts[i].count);
      result.labels_.push_back(counts[i].label);
    } else {
      other += counts[i].count;
    }
  }
  const auto tail = other > 0 ? unlucky_tail(counts, kept) : std::nullopt;
  if (tail) {
    const double counted = static_cast<double>(other) / static_cast<double>(result.size_);
    result.lucky_ = std::clamp((*tail - counted) / (1.0 - counted), 0.0, 1.0);
  }
  result.counts_.push_back(other);
  result.labels_.emplace_back("other");
  result.counts_.push_back(missing);
  result.size_ += missing;
  result.give_to_other(result.counts_);
  std::sort(index.begin(), index.end());
  for (const auto& [hash, bin] : index) {
    result.hashes_.push_back(hash);
    result.hash_bins_.push_back(bin);
  }
  result.set_slots();
  result.set_masses();
  return result;
}

Reference Reference::recounted(std::vector<std::int64_t> counts) const {
  CHECK(counts.size() == bins(), "one count a bin");
  Reference part = *this;
  part.give_to_other(counts);
  part.counts_ = std::move(counts);
  part.size_ = std::accumulate(part.counts_.begin(), part.counts_.end(), std::int64_t{0});
  CHECK(part.size_ > 0, "a reference of nothing");
  part.set_masses();
  return part;
}

double Reference::floor_excess() const {
  std::int64_t added = 0;
  for (const std::int64_t count : counts_) added += std::max<std::int64_t>(0, kFloorCount - count);
  return static_cast<double>(added) / static_cast<double>(size_);
}

std::size_t Reference::filled() const {
  return static_cast<std::size_t>(
      std::count_if(counts_.begin(), counts_.end(), [](std::int64_t c) { return c > 0; }));
}

std::string Reference::label(std::size_t bin) const {
  if (bin == missing_bin()) return "missing";
  if (!ordered_) return labels_[bin];
  const std::string low = bin == 0 ? "-inf" : short_number(edges_[bin - 1]);
  const std::string high = bin == edge_count_ ? "inf" : short_number(edges_[bin]);
  return "[" + low + ", " + high + ")";
}

void Reference::save(ByteWriter& out) const {
  out.put(static_cast<std::uint8_t>(ordered_));
  out.put(size_);
  out.put(static_cast<std::uint64_t>(edge_count_));
  out.put(edges_);
  out.put_all(counts_);
  out.put_all(hashes_);
  out.put_all(hash_bins_);
  out.put(static_cast<std::uint64_t>(labels_.size()));
  for (const auto& label : labels_) out.put_text(label);
}

Reference Reference::load(ByteReader& in) {
  Reference result;
  result.ordered_ = in.get<std::uint8_t>() != 0;
  in.get_into(result.size_);
  result.edge_count_ = in.get<std::uint64_t>();
  in.get_into(result.edges_);
  result.counts_ = in.get_all<std::int64_t>();
  result.hashes_ = in.get_all<std::uint64_t>();
  result.hash_bins_ = in.get_all<std::uint8_t>();
  const auto labels = in.get<std::uint64_t>();
  for (std::uint64_t i = 0; in.ok() && i < labels && i <= kMaxBins; ++i) {
    result.labels_.push_back(in.get_text());
  }
  const std::size_t bins = result.counts_.size();
  const bool fits =
      result.size_ > 0 && bins >= 2 && bins <= kMaxBins &&
      result.hashes_.size() == result.hash_bins_.size() && result.hashes_.size() < kValueBins &&
      (result.ordered_ ? result.edge_count_ + 2 == bins : result.labels_.size() + 1 == bins) &&
      std::all_of(result.hash_bins_.begin(), result.hash_bins_.end(),
                  [bins](std::uint8_t b) { return b + 2U < bins; }) &&
      std::is_sorted(result.edges_.begin(), result.edges_.end());
  if (!fits) {
    in.reject();
    return from_numbers({0.0});
  }
  result.set_slots();
  result.set_masses();
  return result;
}

}  // namespace trimtab::drift
