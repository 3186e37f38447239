// The live A/B: one value an assignment unit, arms drawn by hash (STATISTICS.md section 7).
//
// A unit opens with its first eligible request: the record's experiment, arm and served adapter
// match the routing document of the record's *own* generation, and the unit's hash lies in that
// arm's range there; so evidence runs on through the ramp. It closes when event time passes
// ts + W, with what arrived about that request by then: complaint (none = 0), accuracy (no label
// = missing), and the guardrails error, refusal, slow, long, costly (0/1; a missing number =
// missing). Blocks of one closed unit an arm make D; D > 0 is good for the candidate for every
// metric. Each metric has its own queue of unpaired units, in order of closing.
// Sample-ratio mismatch on units exposed, and on units with a randomly selected label.
// Ship: primary superior (plan improve; else non-inferior at margin_live), every guardrail
// non-inferior at margin_live, no harm anywhere, no mismatch. Harm: alpha_harm / metrics each.
// Hard SLO: half of the candidate's recent requests (at least 20, about the last 64; every request,
// not only first ones) end in errors, twice the control's share. No statistics: a broken server.
// A unit is counted once: later requests of a unit that has opened change nothing.
// plan.cuped: complaint, accuracy, error and refusal are adjusted by what the unit did before its
// first request here (PairedStream; unit_history.h); the other guardrails have no history.
// One thread; deterministic; event time only. Memory: max_open_units open units (about 300 bytes),
// about 60 bytes a unit ever opened (at most max_open_units + 2 ab_max_units), kMaxWaiting unpaired
// values a metric and arm. Saved in pieces: a row an open unit, chunks of what only grows; what
// save_changed() writes is linear in what has changed since the last one, not in what is open.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "shadow/plan.h"
#include "shadow/routing.h"
#include "shadow/shadow_gate.h"
#include "shadow/unit_history.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

// An inference record as the A/B needs it. Views live for the call.
struct LiveRecord {
  std::string_view id;
  std::string_view unit;     // routing's unit_key applied to the record; empty: not countable
  std::int64_t ts_ms = 0;    // request start, event time
  bool attested = false;     // adapter, arm and generation were all on the record
  std::string_view adapter;  // served; empty = bare base (attested null)
  std::string_view arm, experiment;
  std::uint64_t generation = 0;
  bool probe = false;         // op: probe: never counts
  std::optional<bool> error;  // absent: the record does not say
  std::optional<bool> refusal;
  std::optional<double> latency_s;
  std::optional<double> tokens_out, tokens_all;
  UnitPast past;  // of the unit, without this request
};

// Feedback that the daemon has joined to a record.
struct LiveFeedback {
  std::string_view record_id;
  std::int64_t ts_ms = 0;       // the feedback's own
  bool complaint = false;       // user-selected, negative: thumbs down or a correction
  std::optional<double> label;  // selection random: 1 right, 0 wrong
};

// The champion's frozen 95 % quantiles; absent: that guardrail has no data and holds the ship.
struct ChampionQuantiles {
  std::optional<double> latency_s, tokens_out, tokens_all;
};

class LiveAb {
 public:
  struct Params {
    Plan plan;
    std::string experiment;  // the routing documents' experiment
    std::string primary = "complaint";
    std::string control_role = std::string(kArmControl);  // holdback while baking
    std::int64_t label_wait_ms = 0;                       // W, resolved (> 0)
    ChampionQuantiles p95;
  };
  // REQUIRES: label_wait_ms > 0, validate_plan(plan).
  explicit LiveAb(Params params);

  void on_record(const LiveRecord& record, const RoutingHistory& routing);
  void on_feedback(const LiveFeedback& feedback);
  // The watermark: no earlier event will count any more. Closes units, in order of their close.
  void on_time(std::int64_t watermark_ms);

  [[nodiscard]] LiveVerdict verdict() const;
  // Closed units as rows for the journal since the last call (HOUSE.md section 3).
  struct ClosedUnit {
    std::string unit, record_id, arm;
    std::int64_t ts_ms = 0, closed_ms = 0;
    // metric, bad = 1; "before:metric", where it is known: what UnitHistory said
    std::vector<std::pair<std::string, std::optional<double>>> values;
  };
  [[nodiscard]] std::vector<ClosedUnit> take_closed();
  // Takes a journaled unit as if it had just closed here (replay.h): the metrics of this plan are
  // looked up by name; one that the row lacks is missing. Not journaled again.
  void add_closed(const ClosedUnit& unit);
  // A piece of the saved state: whoever keeps it stores pieces by name. Empty bytes: it is gone.
  struct Piece {
    std::string name, bytes;
    auto operator<=>(const Piece&) const = default;
  };
  // Pieces that changed since the last call (all of them the first time).
  [[nodiscard]] std::vector<Piece> save_changed();
  // From all pieces, in any order. kCorrupt: they are not whole, or of another experiment or plan.
  [[nodiscard]] static Result<LiveAb> restore(Params params, const std::vector<Piece>& pieces);

 private:
  struct OpenUnit {
    std::string record_id;
    bool candidate = false;
    bool complaint = false;
    std::optional<double> label;
    std::int64_t ts_ms = 0;
    std::vector<std::optional<double>> guard;  // 1 = bad; as plan.guardrails
    UnitPast past;
  };
  // A closed unit's value of one metric.
  struct Value {
    double bad = 0.0;
    std::optional<double> before;
  };
  // Unpaired closed values of an arm, first in first out. The value that was pushed as the n-th is
  // saved in chunk n / kChunk.
  struct Waiting {
    std::deque<Value> values;
    std::uint64_t first = 0;        // the number of values.front()
    std::set<std::uint64_t> dirty;  // chunks to be written or removed
    void push(const Value& value);
    Value pop();
  };
  struct Metric {
    PairedStream stream;
    Waiting waiting[2];  // [0] control, [1] candidate
  };
  enum class Eligibility { kControl, kCandidate, kOther, kUnattested, kMismatch };
  [[nodiscard]] Eligibility eligible(const LiveRecord& record, const RoutingHistory& routing) const;
  [[nodiscard]] std::vector<std::optional<double>> guard_values(const LiveRecord& record) const;
  [[nodiscard]] std::int64_t close_ms(const OpenUnit& open) const;
  void count_served(bool matched);
  void count_error(bool candidate, const std::optional<bool>& error);
  [[nodiscard]] std::string slo_breach() const;
  void close(const std::string& unit, const OpenUnit& open);
  void pair(Metric& metric, bool candidate, const Value& value);
  [[nodiscard]] nlohmann::json core() const;
  [[nodiscard]] Status restore_core(const nlohmann::json& core);
  void restore_unit(const nlohmann::json& row);
  [[nodiscard]] Status restore_seen(const std::string& digits);
  [[nodiscard]] Status restore_waiting(const std::string& name, const std::string& bytes);
  void save_waiting(std::vector<Piece>& pieces);
  void touch(const std::string& unit) { dirty_units_.insert(unit); }
  [[nodiscard]] SrmRow srm_row(const std::uint64_t (&counts)[2]) const;
  [[nodiscard]] std::string missing_for_ship(const LiveVerdict& verdict) const;
  [[nodiscard]] bool is_ship(const LiveVerdict& verdict) const;

  Params params_;
  std::vector<Metric> metrics_;  // primary, the other outcome, guardrails
  std::map<std::string, OpenUnit> open_;
  std::set<std::pair<std::int64_t, std::string>> closing_;  // (close time, unit)
  std::map<std::string, std::string> by_record_;            // first request's id -> open unit
  void remember(std::uint64_t hash);
  std::unordered_set<std::uint64_t> seen_;  // hashes of all units that ever opened
  std::string seen_text_;                   // the same, 16 hex digits each in order: cheap to save
  std::size_t seen_saved_ = 0;              // of its characters
  std::set<std::string> dirty_units_;       // opened, changed or closed since the last save
  std::string saved_core_;
  std::vector<ClosedUnit> journal_;
  std::uint64_t closed_[2] = {0, 0}, exposed_[2] = {0, 0}, labelled_[2] = {0, 0};
  std::uint64_t mismatched_ = 0, unattested_ = 0, overflowed_ = 0, late_feedback_ = 0;
  std::uint64_t recent_matched_ = 0, recent_mismatched_ = 0;
  std::uint64_t recent_requests_[2] = {0, 0}, recent_errors_[2] = {0, 0};
  std::int64_t watermark_ms_ = 0, last_unit_ms_ = 0;
};

}  // namespace trimtab::shadow
