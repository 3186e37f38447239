// SessionWindow: which event of a session counts for drift: the first in every window.
//
// Keeps the sessions whose window is open, at most kMaxSessions; when full the oldest gives way
// (its session may count once more, which costs independence, not correctness, and is counted).
// Memory: 3 MB when full, of which the ring's 1 MB is reserved from the start; the table grows by
// doubling with the number of open sessions and then allocates no more.
#pragma once

#include <cstdint>
#include <vector>

#include "drift/pieces.h"

namespace trimtab::drift {

// Session -> time, by open addressing (Knuth 6.4, algorithms L and R): after it has grown nothing
// is allocated. REQUIRES everywhere: session != 0.
class SessionTable {
 public:
  // Null when the session is not there; valid until the next call that changes the table.
  [[nodiscard]] std::int64_t* find(std::uint64_t session);
  [[nodiscard]] const std::int64_t* find(std::uint64_t session) const;
  // Puts or replaces.
  void put(std::uint64_t session, std::int64_t ts_ms);
  void erase(std::uint64_t session);
  void clear();
  // Says that this session will be asked for soon: its slot is fetched from memory meanwhile.
  void expect(std::uint64_t session) const { __builtin_prefetch(&slots_[home(session)], 1); }

 private:
  struct Slot {
    std::uint64_t session = 0;  // 0 = free
    std::int64_t ts_ms = 0;
  };
  [[nodiscard]] std::size_t home(std::uint64_t session) const;
  // Where the session is, or the free slot where it would go.
  [[nodiscard]] std::size_t place(std::uint64_t session) const;
  void grow();

  std::vector<Slot> slots_ = std::vector<Slot>(1024);  // a power of two, at most half full
  std::size_t count_ = 0;
};

class SessionWindow {
 public:
  static constexpr std::size_t kMaxSessions = 65'536;

  explicit SessionWindow(std::int64_t window_ms) : window_ms_(window_ms) {
    ring_.reserve(kMaxSessions);
  }

  // True when this event is the first of its session in the window. Session 0: always.
  [[nodiscard]] bool counts(std::uint64_t session, std::int64_t ts_ms);
  [[nodiscard]] std::size_t open() const { return count_; }
  // Before counts(), where the session is known some events ahead.
  void expect(std::uint64_t session) const { first_ts_ms_.expect(session); }

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
  SessionTable first_ts_ms_;
};

}  // namespace trimtab::drift
