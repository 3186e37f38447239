// Reference: what one signal looked like when it was well, frozen.
//
// Numbers become at most 32 bins of equal mass (a value that alone holds a bin's mass gets a bin of
// its own; ties make fewer); categories become the 31 most frequent and `other`; missing values
// have a bin of their own, always the last. Masses: p0(b) = max(count(b), 3) / N, renormalized, so
// that no bet is infinite on a bin that the reference never filled (STATISTICS.md 1).
// Bins are half open, [edge_i, edge_i+1), with values of the sample as edges: a strictly increasing
// transformation of reference and stream gives the same bins.
// Immutable after it is built; share it freely.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "drift/bytes.h"

namespace trimtab::drift {

inline constexpr std::size_t kValueBins = 32;  // without the one for missing values
inline constexpr std::size_t kMaxBins = kValueBins + 1;
inline constexpr std::int64_t kMinReference = 500;
inline constexpr std::int64_t kFloorCount = 3;  // p0 >= 3 / N (STATISTICS.md 1)

struct CategoryCount {
  std::uint64_t hash = 0;  // of the category's text; never 0
  std::string label;
  std::int64_t count = 0;
  std::int64_t half = 0;  // of count, from every other event; 0 everywhere: not known
};

class Reference {
 public:
  // NaN and infinity count as missing. REQUIRES: not empty.
  [[nodiscard]] static Reference from_numbers(std::vector<double> values);
  // `missing` events besides the counted ones. With more categories than bins the most frequent are
  // kept, and they are so by luck as well: what they hold too much by is estimated from halves
  // (chosen by one, counted by the other) and given to `other`.
  [[nodiscard]] static Reference from_categories(std::vector<CategoryCount> counts,
                                                 std::int64_t missing);

  // The same bins with other counts: what the signal looked like in a part of the reference.
  // REQUIRES: one count a bin, their sum above 0.
  [[nodiscard]] Reference recounted(std::vector<std::int64_t> counts) const;

  [[nodiscard]] bool ordered() const { return ordered_; }
  // Value bins + 1; the last bin is `missing`.
  [[nodiscard]] std::size_t bins() const { return masses_.size(); }
  [[nodiscard]] std::size_t missing_bin() const { return masses_.size() - 1; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] double mass(std::size_t bin) const { return masses_[bin]; }
  [[nodiscard]] std::int64_t count(std::size_t bin) const { return counts_[bin]; }
  // True when the mass of a bin is the floor, more than the reference showed.
  [[nodiscard]] bool floored(std::size_t bin) const { return counts_[bin] < kFloorCount; }
  // What the floors added to the masses, relative to the reference's own.
  [[nodiscard]] double floor_excess() const;
  // Bins that the reference filled.
  [[nodiscard]] std::size_t filled() const;
  [[nodiscard]] std::string label(std::size_t bin) const;
  // Bin b of an ordered reference is [edges()[b - 1], edges()[b]).
  [[nodiscard]] std::span<const double> edges() const { return {edges_.data(), edge_count_}; }

  // REQUIRES: ordered(). NaN and infinity -> missing_bin().
  [[nodiscard]] std::size_t bin_of(double x) const {
    if (!(x - x == 0.0)) return missing_bin();
    // Branch-free search for the number of edges <= x over a power-of-two table.
    static_assert(kValueBins == 32);
    std::size_t at = static_cast<std::size_t>(edges_[15] <= x) << 4;
    at += static_cast<std::size_t>(edges_[at + 7] <= x) << 3;
    at += static_cast<std::size_t>(edges_[at + 3] <= x) << 2;
    at += static_cast<std::size_t>(edges_[at + 1] <= x) << 1;
    return at + static_cast<std::size_t>(edges_[at] <= x);
  }
  // bin_of() of each, several at a time. REQUIRES: ordered().
  void bins_of(std::span<const double> values, std::uint8_t* bins) const;
  // REQUIRES: !ordered(). 0 -> missing_bin(), unknown -> `other`.
  [[nodiscard]] std::size_t bin_of_category(std::uint64_t hash) const {
    if (hash == 0) return missing_bin();
    // Open addressing, at most half full: nearly always the first look decides.
    for (std::size_t at = hash >> 58;; at = (at + 1) % kSlots) {
      const std::uint8_t entry = slots_[at];
      if (entry == kFree) return missing_bin() - 1;
      if (hashes_[entry] == hash) return hash_bins_[entry];
    }
  }

  void save(ByteWriter& out) const;
  [[nodiscard]] static Reference load(ByteReader& in);

 private:
  void set_masses();
  void set_slots();
  void give_to_other(std::vector<std::int64_t>& counts) const;
  static constexpr std::size_t kSlots = 64;
  static constexpr std::uint8_t kFree = 255;

  bool ordered_ = true;
  std::int64_t size_ = 0;
  std::size_t edge_count_ = 0;
  std::array<double, kValueBins - 1> edges_{};  // ascending; unused ones +infinity
  std::vector<std::int64_t> counts_;            // a bin
  std::vector<double> masses_;
  std::vector<std::uint64_t> hashes_;    // a category bin, ascending by hash
  std::vector<std::uint8_t> hash_bins_;  // the bin of hashes_[i]
  std::array<std::uint8_t, kSlots> slots_{};  // hash's first 6 bits -> i; kFree
  std::vector<std::string> labels_;      // a category bin
  double lucky_ = 0.0;  // share of the kept categories' counts that belongs to `other`; not saved
};

}  // namespace trimtab::drift
