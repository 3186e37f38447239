// UnitHistory: what assignment units did before they were in a comparison, so that the comparison
// can take it off their values (CUPED; ab.h).
//
// Per unit: requests that the champion answered, and how many of them were complained about, ended
// in an error or were refused; labels and how many said wrong. past() gives shares, drawn towards
// the share of all units by five pseudo-requests: one request says little about a person. Whoever
// opens a unit asks once, before its first request there is counted.
// A bounded cache: two units a set, the one that was not seen for longer gives way, and then has no
// history. Counts are halved at 60,000. One thread. Memory: 32 bytes a unit, at most 2 MB; grows by
// 512 bytes. Saved in pieces of 16 units, only what changed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::shadow {

// Shares of bad in [0, 1]; absent: nothing is known.
struct UnitPast {
  std::optional<double> complaint, accuracy, error, refusal;
  // By the A/B's name of the metric; absent for one that has no history.
  [[nodiscard]] std::optional<double> of(std::string_view metric) const;
};

class UnitHistory {
 public:
  static constexpr std::size_t kMaxUnits = 65'536;

  // A request that the champion answered. REQUIRES everywhere: unit != 0.
  void on_request(std::uint64_t unit, bool error, bool refusal);
  // About a request that has been counted.
  void on_complaint(std::uint64_t unit);
  void on_label(std::uint64_t unit, double right);
  [[nodiscard]] UnitPast past(std::uint64_t unit) const;
  // Erasure: as if the unit had never been seen; the totals keep no trace of who it was.
  void forget(std::uint64_t unit);
  struct Piece {
    std::string name, bytes;
  };
  [[nodiscard]] std::vector<Piece> save_changed();
  // kCorrupt, and nothing changes, when the pieces are not what save_changed() wrote.
  [[nodiscard]] Status restore(const std::vector<Piece>& pieces);

 private:
  struct Unit {  // plain bytes without padding
    std::uint64_t hash = 0;
    std::uint32_t last = 0;  // request number when it was last seen
    float wrong = 0.0F;
    std::uint16_t requests = 0, complaints = 0, errors = 0, refusals = 0, labels = 0;
    std::array<std::uint16_t, 3> no_padding{};
  };
  static_assert(sizeof(Unit) == 32);
  static constexpr std::size_t kChunkUnits = 16;
  static constexpr std::size_t kChunks = kMaxUnits / kChunkUnits;
  struct Chunk {
    std::array<Unit, kChunkUnits> units{};
    bool dirty = false;
  };
  struct Totals {
    double requests = 0, complaints = 0, errors = 0, refusals = 0, labels = 0, wrong = 0;
  };
  [[nodiscard]] const Unit* find(std::uint64_t unit) const;
  [[nodiscard]] Unit* touch(std::uint64_t unit);  // null: not there

  std::vector<std::unique_ptr<Chunk>> chunks_ = std::vector<std::unique_ptr<Chunk>>(kChunks);
  Totals totals_;
  std::uint32_t now_ = 0;
};

}  // namespace trimtab::shadow
