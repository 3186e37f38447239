// NearDuplicates: finds earlier texts whose sets of 5-character shingles overlap a new one's by a
// given Jaccard similarity or more. MinHash with locality-sensitive hashing (Broder 1997; Indyk and
// Motwani 1998); candidates are confirmed by their exact similarity, so nothing is dropped that is
// not alike, and few are missed (recall at the threshold: tests/retrain/near_duplicates_test.cpp).
//
// 16 bands of r rows, r by the threshold t so that P(candidate at t) = 1 - (1 - t^r)^16 >= .98:
// r = 4 from .75 (at .8: .9998), 3 from .6, 2 from .5.
// Memory: 64 bytes of chain and about 270 bytes of table a text, plus the text (the caller's).
// Work: 16 r multiplications a shingle; at most kMaxCandidates comparisons a look-up, so texts made
// to collide cannot make it quadratic. Not thread-safe; deterministic.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trimtab::retrain {

// Lower case (ASCII), punctuation dropped, runs of spaces made one, ends trimmed: what counts as
// the same text.
[[nodiscard]] std::string normalize_text(std::string_view text);
// Exact Jaccard similarity of the sets of 5-byte shingles; a shorter text is one shingle.
[[nodiscard]] double shingle_jaccard(std::string_view a, std::string_view b);

class NearDuplicates {
 public:
  // REQUIRES: .5 <= threshold <= 1.
  explicit NearDuplicates(double threshold);

  // An added text that is as similar as that to `text` and that `accept` (when given) takes, if one
  // is found. `text` is normalized already.
  [[nodiscard]] std::optional<std::uint32_t> find(
      std::string_view text, const std::function<bool(std::uint32_t)>& accept = {}) const;
  // Adds a text; returns its index (0, 1, ..). The view must stay valid.
  std::uint32_t add(std::string_view text);
  [[nodiscard]] std::size_t size() const { return texts_.size(); }

 private:
  static constexpr std::size_t kBands = 16;
  static constexpr std::size_t kMaxRows = 4;
  static constexpr std::size_t kMaxCandidates = 64;
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  using BandKeys = std::array<std::uint32_t, kBands>;
  // A bucket: its hash (position and tag in one; buckets that share it are merged, which costs a
  // comparison and nothing else) and the newest text in it.
  struct Slot {
    std::uint32_t key = 0;
    std::uint32_t head = kNone;
  };

  [[nodiscard]] BandKeys keys_of(std::string_view text) const;
  [[nodiscard]] std::size_t slot_of(std::uint32_t key) const;
  void grow();

  double threshold_;
  std::size_t rows_;
  std::vector<std::string_view> texts_;
  std::vector<Slot> table_;  // open addressing, a power of two
  std::size_t used_ = 0;
  std::vector<std::uint32_t> chain_;  // [text][band] -> the text before it in the same bucket
};

}  // namespace trimtab::retrain
