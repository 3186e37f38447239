// Segment: the detectors of all signals over one slice of a target's traffic ("all", or one value
// of a configured field), with the reference they compare with.
//
// collecting (rows are kept) -> calibrating (enough rows; the next event or tick builds and
// calibrates) -> armed, or refused when no alarming signal could be armed. Text signals (novelty,
// embedding) live in "all" only: their references cost 300 bytes a row.
// Each detector keeps a checkpoint of its state, so that an alarm can be derived again from it and
// the events since (derivation.h).
// Control's thread only. Memory: (280 + 304 + 256 + 160) bytes a signal besides references.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "drift/attribution.h"
#include "drift/calibration.h"
#include "drift/monitor.h"
#include "drift/pieces.h"
#include "drift/projections.h"
#include "drift/rank_e.h"
#include "drift/seasons.h"
#include "drift/words.h"

namespace trimtab::drift {

// What all segments of a target share; fixed by the settings.
struct SegmentPlan {
  std::vector<Signal> signals;
  std::int64_t reference_size = 0;
  double half_life_events = 5'000.0;
  double min_theta = 0.5;
  double threshold_ms = 0.0;  // period / allowed false alarms x detectors
  bool seasons = true;        // references by hour of the week where a pooled one does not hold
  double utc_offset_hours = 0.0;
};

class Segment {
 public:
  static constexpr std::size_t kBinRing = 256;      // events whose bins are kept for attribution
  static constexpr std::size_t kRecentMarks = 256;  // events whose time and offset are kept
  static constexpr std::size_t kHistory = 40;       // points of the evidence history

  Segment(std::shared_ptr<const SegmentPlan> plan, std::string name, std::string prefix,
          bool with_text);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] MonitorState state() const { return state_; }
  [[nodiscard]] bool provisional() const { return provisional_; }
  [[nodiscard]] std::int64_t collected() const { return static_cast<std::int64_t>(rows_.size()); }
  // Number of the last event, from 1.
  [[nodiscard]] std::uint64_t events() const { return events_; }
  [[nodiscard]] std::int64_t since_ts_ms() const { return since_ts_ms_; }
  // Mean gap between the collected rows, ms; empty below two rows.
  [[nodiscard]] std::optional<double> gap_ms() const;

  // One counted event. True when a signal crossed: then attribute() tells, and the caller starts
  // the next reference with collect().
  [[nodiscard]] bool observe(const Observation& event);
  void tick();
  // Drops reference and detectors and starts collecting.
  void collect(bool provisional);

  // REQUIRES: observe() has just answered true. Fills all but the words and examples.
  void attribute(Alarm& alarm) const;
  // Share of reference records with a word; 0 without text.
  [[nodiscard]] const WordModel* words() const { return words_ ? &*words_ : nullptr; }
  // How much event number `event` paid the alarming signal's leading bet; 0 when out of the ring.
  [[nodiscard]] double paid(std::uint64_t event) const;

  void status(std::vector<SignalStatus>& out) const;
  void evidence(std::vector<SignalEvidence>& out) const;
  // The last kBinRing events against the reference, a signal.
  void reports(std::vector<SignalReport>& out) const;
  // Reference vectors (at most kShiftVectors) and their projections; for EmbeddingShift.
  [[nodiscard]] std::vector<const VectorRow*> reference_vectors() const;
  [[nodiscard]] const Projections* projections() const {
    return projections_ ? &*projections_ : nullptr;
  }

  void save(SaveMode mode, std::vector<StatePiece>& out) const;
  void mark_saved();
  [[nodiscard]] Status restore(const PieceMap& pieces);

 private:
  struct Row {
    std::int64_t ts_ms = 0;
    std::array<std::uint64_t, kMaxSignals> cells{};  // a double's bits, or a category's hash
  };
  struct CategoryName {
    std::uint64_t signal = 0;  // 64 bits: no padding, saved bytes are equal for equal histories
    std::uint64_t hash = 0;
    Label label;
  };
  struct Mark {
    std::int64_t ts_ms = 0;
    std::uint64_t offset = 0;
  };
  struct Checkpoint {
    std::vector<RankState> states;
    std::uint64_t event = 0;  // the segment's event number
    std::uint64_t last_event = 0;
    std::int64_t last_ts_ms = 0;
  };
  // One signal's detector.
  struct Watch {
    std::size_t signal = 0;
    Calibration calibration;
    double threshold_ms = 0.0;
    std::size_t channels = 1;  // 1, or 32
    std::size_t cells = 1;     // of the week; more than 1 only with one channel
    std::vector<std::shared_ptr<const RankBets>> bets;  // [cells, channels]
    std::vector<RankState> states;                      // a channel
    Checkpoint checkpoint;
    std::vector<std::uint8_t> bins;  // [kBinRing, channels]; 255 = the event did not feed it
    std::int64_t last_ts_ms = 0;
    std::uint64_t last_event = 0;
    std::uint64_t fed = 0;
    std::int64_t phase = 0;
    double evidence = 0.0;
    float interval_max = -30.0F;     // of log10_ratio() since the last point of the history
    double interval_evidence = 0.0;  // no less than what interval_max comes from; not saved
    std::vector<float> history;

    [[nodiscard]] double log10_ratio() const;
    [[nodiscard]] std::size_t leading_channel() const;
  };

  void keep_row(const Observation& event);
  void keep_names(const Observation& event);
  void arm();
  void fit_text();
  [[nodiscard]] Watch make_watch(std::size_t signal);
  [[nodiscard]] Watch make_watch(std::size_t signal, const CalibrationSample& sample) const;
  [[nodiscard]] CalibrationSample sample_of(std::size_t signal,
                                            std::vector<std::vector<double>>& values) const;
  [[nodiscard]] CalibrationSample seasonal_sample(std::size_t signal,
                                                  const std::vector<std::size_t>& order) const;
  [[nodiscard]] std::vector<std::size_t> alternate_days() const;
  [[nodiscard]] Reference numeric_reference(std::size_t signal,
                                            const std::vector<std::size_t>& events) const;
  [[nodiscard]] std::vector<std::vector<double>> channel_values(std::size_t signal) const;
  [[nodiscard]] Reference category_reference(std::size_t signal, std::size_t from, std::size_t to,
                                             std::size_t step) const;
  void forget_rows();
  void feed(Watch& watch, const Observation& event, const Projections::Values* projected,
            double novelty);
  void note_history();
  void note_checkpoint(Watch& watch) const;
  [[nodiscard]] std::string trail_of(const Watch& watch) const;
  [[nodiscard]] std::optional<std::size_t> crossed() const;
  void note_mark(const Mark& mark);
  [[nodiscard]] Mark mark_of(std::uint64_t event) const;
  [[nodiscard]] std::size_t cell_at(const Watch& watch, std::uint64_t event) const;
  [[nodiscard]] std::size_t main_cell(const Watch& watch, std::uint64_t span) const;
  [[nodiscard]] std::uint64_t span_of(std::uint64_t age) const;
  [[nodiscard]] std::vector<std::int64_t> counts_since(const Watch& watch, std::size_t channel,
                                                       std::size_t cell, std::uint64_t span) const;
  void save_reference(std::vector<StatePiece>& out) const;
  [[nodiscard]] Status restore_reference(const PieceMap& pieces);
  void save_watches(std::vector<StatePiece>& out) const;
  [[nodiscard]] Status restore_watches(const PieceMap& pieces);

  std::shared_ptr<const SegmentPlan> plan_;
  std::string name_;
  std::string prefix_;
  bool with_text_;
  bool wants_words_ = false;
  bool wants_vectors_ = false;

  MonitorState state_ = MonitorState::kCollecting;
  bool provisional_ = false;
  std::int64_t since_ts_ms_ = 0;
  std::int64_t reference_ts_ms_ = 0;
  double gap_ms_ = 0.0;
  std::int64_t reference_size_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t armed_at_ = 0;
  std::uint64_t history_every_ = 16;
  bool reference_changed_ = true;

  ChunkedVector<Row, 64> rows_;
  ChunkedVector<WordRow, 128> word_rows_;
  ChunkedVector<VectorRow, 64> vector_rows_;
  ChunkedVector<VectorRow, 64> kept_vectors_;  // of the reference, while armed
  ChunkedVector<CategoryName, 128> names_;
  ChunkedVector<NamedWord, 256> dictionary_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> known_names_;
  std::set<std::uint32_t> known_words_;

  std::optional<WordModel> words_;
  std::optional<Projections> projections_;
  Seasons seasons_;
  std::vector<Watch> watches_;
  ChunkedVector<Mark, 64> recent_marks_;  // ring of the last kRecentMarks events
  // Three rings: every 8th, 64th and 512th event, 128 of each, so back to 65,536 events.
  ChunkedVector<Mark, 64> sparse_marks_;
};

}  // namespace trimtab::drift
