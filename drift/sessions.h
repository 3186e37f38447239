// SessionWindow: which event of a session counts for drift: the first in every window.
//
// Keeps the sessions whose window is open, at most kMaxSessions; when full the oldest gives way
// (its session may count once more, which costs independence, not correctness, and is counted).
// Memory: about 3 MB when full.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "drift/pieces.h"

namespace trimtab::drift {

class SessionWindow {
 public:
  static constexpr std::size_t kMaxSessions = 65'536;

  explicit SessionWindow(std::int64_t window_ms) : window_ms_(window_ms) {}

  // True when this event is the first of its session in the window. Session 0: always.
  [[nodiscard]] bool counts(std::uint64_t session, std::int64_t ts_ms);
  [[nodiscard]] std::size_t open() const { return count_; }

  void save(SaveMode mode, std::vector<StatePiece>& out) const;
  void mark_saved() { ring_.mark_saved(); }
  [[nodiscard]] Status restore(const PieceMap& pieces);

 private:
  struct Entry {
    std::uint64_t session = 0;
    std::int64_t ts_ms = 0;
  };
  void drop_oldest();

  std::int64_t window_ms_;
  ChunkedVector<Entry, 1024> ring_;
  std::size_t head_ = 0;
  std::size_t count_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> first_ts_ms_;
};

}  // namespace trimtab::drift
