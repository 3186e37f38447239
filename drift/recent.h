// RecentRecords: the last 256 counted records with their words and ids, so that an alarm can name
// examples, the words that came and went, and how the text vectors moved. Memory: 200 KB.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "drift/alarm.h"
#include "drift/pieces.h"
#include "drift/projections.h"
#include "drift/words.h"

namespace trimtab::drift {

struct RecentRecord {
  std::int64_t ts_ms = 0;
  std::uint64_t offset = 0;
  RecordId id;
  std::array<Word, kMaxWords> words{};
  std::uint64_t word_count = 0;
  VectorRow vector;              // scale 0: none
  std::uint32_t no_padding = 0;  // saved bytes are equal for equal histories
  // Its event number in segment "all", and in its other segments (index + 1; 0 = none).
  std::uint64_t all_event = 0;
  std::array<std::uint64_t, kMaxSegmentFields> segments{};
  std::array<std::uint64_t, kMaxSegmentFields> segment_events{};
};

class RecentRecords {
 public:
  static constexpr std::size_t kKept = 256;

  // The next record, to be filled in place: all but the words beyond its count and the numbers of
  // an absent vector, which keep what the record 256 before had there.
  [[nodiscard]] RecentRecord& add();
  // Newest first, at most `count`.
  [[nodiscard]] std::vector<const RecentRecord*> newest(std::size_t count) const;

  void save(SaveMode mode, std::vector<StatePiece>& out) const { ring_.save(kPrefix, mode, out); }
  void mark_saved() { ring_.mark_saved(); }
  [[nodiscard]] Status restore(const PieceMap& pieces, std::uint64_t added);
  [[nodiscard]] std::uint64_t added() const { return added_; }

 private:
  static constexpr char kPrefix[] = "recent/";
  ChunkedVector<RecentRecord, 16> ring_;
  std::uint64_t added_ = 0;
};

// Words whose share of records differs most from the reference's, by the two-proportion z score.
struct WordChanges {
  std::vector<WordChange> gained;
  std::vector<WordChange> lost;
};
[[nodiscard]] WordChanges word_changes(const WordModel& reference,
                                       const std::vector<const RecentRecord*>& records);

}  // namespace trimtab::drift
