// Frozen pools: the records a shadow verdict may be drawn from, and in which order.
//
// Which labels count (PROMOTION.md section 3): only those whose selection did not depend on the
// answer: `selection: random`, or a judge's on hash-sampled records. Corrections by users exist
// only where the champion failed, thumbs-up texts are the champion's own: neither ever enters.
// Only evaluation units (a stable hash keeps eval_share of the units out of every training set).
// A pool is frozen when it is made, drawn in a seeded random order, each record at most once: so
// that "the conditional mean exceeded m" means "on average over the pool". Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::shadow {

// True for a unit that no job trains on and every pool draws from. Stable across restarts and
// targets; `retrain` asks through the daemon.
[[nodiscard]] bool is_evaluation_unit(std::string_view unit, double eval_share);

enum class Selection { kRandom, kUser, kJudge };
[[nodiscard]] Result<Selection> parse_selection(std::string_view name);

enum class Stratum { kNew, kOld };
[[nodiscard]] std::string_view stratum_name(Stratum stratum);

// One labelled record as the store knows it.
struct LabelledRecord {
  std::string id;
  std::string unit;        // unit_key's value
  std::string source;      // labelling source (source_id, else source): capped in the screen
  std::int64_t ts_ms = 0;  // the record's
  Selection selection = Selection::kUser;
  bool hash_sampled = false;  // a judge's record was chosen by hash
  std::string known_good;     // the right output: a correction, or an answer that was labelled good
};

// May this label decide? (Also needs an evaluation unit and a known-good text.)
[[nodiscard]] bool label_counts(const LabelledRecord& record);

struct PoolItem {
  std::string id;
  std::string source;
  std::string known_good;
  std::int64_t ts_ms = 0;
  Stratum stratum = Stratum::kNew;
  bool operator==(const PoolItem&) const = default;
};

// New records since the onset, old ones before it. Alternates between the strata as asked by the
// caller; never returns an item twice, also across save/restore.
class FrozenPool {
 public:
  struct Params {
    std::int64_t onset_ms = 0;
    double eval_share = 0.5;
    std::uint64_t seed = 1;
    std::size_t max_records = 20'000;  // a stratum; the seeded order decides which stay
    // No label that counts exists on `new`: take every known-good text there, whoever chose it, for
    // the advisory gate only (no harm in likelihood, length, latency). `old` stays as strict.
    bool advisory = false;
  };
  FrozenPool() = default;
  // Records that do not count are left out and counted in left_out(). Duplicate ids count once.
  // The order of `records` does not matter: they are sorted by id before they are shuffled.
  [[nodiscard]] static FrozenPool freeze(std::span<const LabelledRecord> records,
                                         const Params& params);
  // The next at most `count` items of a stratum.
  [[nodiscard]] std::vector<PoolItem> draw(Stratum stratum, std::size_t count);
  // Their texts are gone (erasure); the items keep their places, so that the draw stays as it was.
  // True when some were there.
  bool forget(const std::set<std::string>& record_ids);
  // Without drawing: all items in their order, for the screen.
  [[nodiscard]] const std::vector<PoolItem>& items(Stratum stratum) const;
  [[nodiscard]] std::size_t size(Stratum stratum) const { return items(stratum).size(); }
  [[nodiscard]] std::size_t left(Stratum stratum) const;
  [[nodiscard]] std::size_t left_out() const { return left_out_; }
  // sha256 over ids and texts in order: part of a trial's evidence.
  [[nodiscard]] std::string digest() const;
  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<FrozenPool> restore(const nlohmann::json& saved);

 private:
  std::vector<PoolItem> new_, old_;
  std::size_t new_drawn_ = 0, old_drawn_ = 0, left_out_ = 0;
};

// At most `count` items, at most `per_source` of one labelling source, in the given order.
[[nodiscard]] std::vector<PoolItem> capped_by_source(std::span<const PoolItem> items,
                                                     std::size_t count, std::size_t per_source);

// The user's golden set: {"input": text or messages, "output": text} a line.
struct GoldenItem {
  std::string id;          // golden-<line>
  std::string input_json;  // messages as the scorer takes them, JSON text
  std::string output;
};
// kInvalid with FILE:LINE.
[[nodiscard]] Result<std::vector<GoldenItem>> read_golden(const std::string& path);

}  // namespace trimtab::shadow
