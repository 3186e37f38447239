// Segment: the detectors of all signals over one slice of a target's traffic ("all", or one value
// of a configured field), with the reference they compare with.
//
// collecting (rows are kept) -> calibrating (enough rows; the next event or tick builds and
// calibrates) -> armed, or refused when no alarming signal could be armed. Text signals (novelty,
// embedding) live in "all" only: their references cost 300 bytes a row.
// Each detector keeps a checkpoint of its state, so that an alarm can be derived again from it and
// the events since (derivation.h).
// Control's thread only. Memory besides references: a signal 624 bytes (state, its checkpoint, the
// bins of 256 events) and 160 of its own, a segment 3.4 KB of marks and about 1 KB.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "drift/attribution.h"
#include "drift/bin_ring.h"
#include "drift/calibration.h"
#include "drift/event_marks.h"
#include "drift/monitor.h"
#include "drift/pieces.h"
#include "drift/projections.h"
#include "drift/rank_e.h"
#include "drift/seasons.h"
#include "drift/segment_run.h"
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

// Signals of the words and vectors of a text.
[[nodiscard]] inline bool is_text(const Signal& signal) {
  return signal.kind == SignalKind::kNovelty || signal.kind == SignalKind::kEmbedding;
}

class Segment {
 public:
  static constexpr std::size_t kBinRing = BinRing::kEvents;  // kept for attribution
  static constexpr std::size_t kHistory = 36;  // points of the evidence history; even
  static_assert(kBinRing == EventMarks::kRecent);

  Segment(std::shared_ptr<const SegmentPlan> plan, std::string name, std::string prefix,
          bool with_text);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] MonitorState state() const { return state_; }
  [[nodiscard]] bool provisional() const { return provisional_; }
  [[nodiscard]] std::int64_t collected() const { return static_cast<std::int64_t>(rows_.size()); }
  // Number of the last event, from 1.
  [[nodiscard]] std::uint64_t events() const { return marks_.events(); }
  [[nodiscard]] std::int64_t since_ts_ms() const { return since_ts_ms_; }
  // Mean gap between the collected rows, ms; empty below two rows.
  [[nodiscard]] std::optional<double> gap_ms() const;

  // One counted event. True when a signal crossed: then attribute() tells, and the caller starts
  // the next reference with collect(). `run` is scratch.
  [[nodiscard]] bool observe(const Observation& event, SegmentRun& run);

  // The same of some events in a row, in three steps. REQUIRES: armed.
  // True when a signal crosses at some of run.events. Only detectors' states have changed.
  [[nodiscard]] bool foresee(SegmentRun& run);
  // Either takes that back, or does the rest. REQUIRES: nothing came in between.
  void undo(const SegmentRun& run);
  void settle(SegmentRun& run);  // REQUIRES: nothing crossed, or the only event did

  void tick();
  // Drops reference and detectors and starts collecting.
  void collect(bool provisional);

  // REQUIRES: observe() has just answered true. Fills all but the words and examples.
  void attribute(Alarm& alarm) const;
  // Share of reference records with a word; 0 without text.
  [[nodiscard]] const WordModel* words() const {
    return text_ && text_->words ? &*text_->words : nullptr;
  }
  // How much event number `event` paid the alarming signal's leading bet; 0 when out of the ring.
  [[nodiscard]] double paid(std::uint64_t event) const;

  void status(std::vector<SignalStatus>& out) const;
  void evidence(std::vector<SignalEvidence>& out) const;
  // The last kBinRing events against the reference, a signal.
  void reports(std::vector<SignalReport>& out) const;
  // Reference vectors (at most kShiftVectors) and their projections; for EmbeddingShift.
  [[nodiscard]] std::vector<const VectorRow*> reference_vectors() const;
  [[nodiscard]] const Projections* projections() const {
    return text_ && text_->projections ? &*text_->projections : nullptr;
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
  // What the text signals need; segment "all" alone has it.
  struct Text {
    bool wants_words = false;
    bool wants_vectors = false;
    ChunkedVector<WordRow, 128> word_rows;
    ChunkedVector<VectorRow, 64> vector_rows;
    ChunkedVector<VectorRow, 64> kept_vectors;  // of the reference, while armed
    ChunkedVector<NamedWord, 256> dictionary;
    std::set<std::uint32_t> known_words;
    std::optional<WordModel> words;
    std::optional<Projections> projections;

    void forget_rows();
  };
  // One detector's channel: plain bytes without padding, saved as they are.
  struct Channel {
    RankState state;
    BinRing bins;  // all channels are fed together: whether one was is kept in the first
    RankState checkpoint;  // an alarm's trail starts here
  };
  // One signal's detector: 80 bytes that every event reads, 28 that it does not, and the history's
  // 36. There is one a signal and segment.
  struct Watch {
    std::uint8_t signal = 0;
    std::uint8_t channels = 0;  // 0: not built; 1, or 32
    std::uint8_t cells = 1;     // of the week; more than 1 only with one channel
    SignalKind kind = SignalKind::kNumeric;
    bool about_output = false;
    bool armed = false;
    bool alarms = false;              // armed, and may alarm
    std::uint8_t points = 0;          // of history
    std::uint32_t first_channel = 0;  // of channels_
    std::uint32_t first_bets = 0;     // of bets_: [cells, channels]
    std::uint32_t thin = 1;
    std::uint32_t phase = 0;  // events since the last one that fed it, while thinning
    double threshold_ms = 0.0;
    double evidence = 0.0;
    double interval_evidence = 0.0;  // the most since the last point of the history
    std::int64_t last_ts_ms = 0;     // of the events that fed it
    std::uint64_t last_event = 0;
    std::uint64_t fed = 0;
    std::uint64_t checkpoint_event = 0;

    std::uint64_t checkpoint_last_event = 0;
    std::int64_t checkpoint_last_ts_ms = 0;
    std::unique_ptr<const std::string> reason;  // of its calibration; null: nothing to say
    float theta = 1.0F;
    std::array<std::int8_t, kHistory> history{};  // log10(evidence / threshold) in sixteenths

    [[nodiscard]] double log10_ratio() const { return ratio_of(evidence); }
    [[nodiscard]] double ratio_of(double some_evidence) const;
    [[nodiscard]] std::vector<float> history_points() const;
  };
  // What arming makes of one signal before it is a watch.
  struct Built {
    Calibration calibration;
    double threshold_ms = 0.0;
    std::size_t channels = 0;
    std::size_t cells = 1;
    std::vector<std::shared_ptr<const RankBets>> bets;  // [cells, channels]
  };

  void keep_row(const Observation& event);
  void keep_names(const Observation& event);
  void arm();
  void fit_text();
  [[nodiscard]] Built build(std::size_t signal);
  [[nodiscard]] Built build(std::size_t signal, const CalibrationSample& sample) const;
  void add_watch(std::size_t signal, Built built);
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
  // segment_run.cpp
  struct Fed;
  void read_texts(SegmentRun& run) const;
  static void note_gaps(const Watch& watch, SegmentRun& run);
  static void find_fed(const Watch& watch, SegmentRun& run, Fed& fed);
  void look_up(const Watch& watch, std::size_t channel, const Fed& fed, SegmentRun& run) const;
  [[nodiscard]] std::uint8_t bin_of(const Watch& watch, std::size_t channel, std::size_t at,
                                    const SegmentRun& run) const;
  double step_channel(const Watch& watch, std::size_t channel, const Fed& fed, std::size_t count,
                      const SegmentRun& run, RankState& state, double* evidence) const;
  [[nodiscard]] bool foresee(std::size_t index, SegmentRun& run);
  double foresee_rare(const Watch& watch, const Fed& fed, SegmentRun& run, double* evidence);
  void settle(std::size_t index, SegmentRun& run);
  void settle_history(const SegmentRun& run);
  void note_checkpoint(Watch& watch, const Fed& fed, const SegmentRun& run, const double* evidence);
  [[nodiscard]] std::size_t cell_of(const Watch& watch, std::int64_t ts_ms) const {
    return watch.cells > 1 ? seasons_.cell_of(ts_ms) : 0;
  }
  void note_history();
  [[nodiscard]] const Channel& channel_of(const Watch& watch, std::size_t c) const {
    return channels_[watch.first_channel + c];
  }
  [[nodiscard]] const RankBets& bets_of(const Watch& watch, std::size_t cell,
                                        std::size_t channel) const {
    return *bets_[watch.first_bets + cell * watch.channels + channel];
  }
  [[nodiscard]] bool fed(const Watch& watch, std::uint64_t event) const {
    return channel_of(watch, 0).bins.get(event) != BinRing::kNotFed;
  }
  [[nodiscard]] std::size_t leading_channel(const Watch& watch) const;
  [[nodiscard]] std::string trail_of(const Watch& watch) const;
  [[nodiscard]] std::optional<std::size_t> crossed() const;
  [[nodiscard]] std::vector<std::size_t> newest_cells(const Watch& watch, std::uint64_t span) const;
  [[nodiscard]] std::uint64_t span_of(std::uint64_t age) const;
  [[nodiscard]] std::vector<std::int64_t> counts_since(const Watch& watch, std::size_t channel,
                                                       std::size_t cell, std::uint64_t span) const;
  void save_reference(std::vector<StatePiece>& out) const;
  [[nodiscard]] Status restore_reference(const PieceMap& pieces);
  [[nodiscard]] Status restore_text(const PieceMap& pieces);
  [[nodiscard]] Watch plain_watch(std::size_t signal) const;
  [[nodiscard]] Result<Watch> restore_watch(ByteReader& in);
  void save_watches(std::vector<StatePiece>& out) const;
  [[nodiscard]] Status restore_watches(const PieceMap& pieces);
  [[nodiscard]] bool fits(const Watch& watch) const;

  std::shared_ptr<const SegmentPlan> plan_;
  std::string name_;
  std::string prefix_;
  MonitorState state_ = MonitorState::kCollecting;
  bool provisional_ = false;
  std::int64_t since_ts_ms_ = 0;
  std::int64_t reference_ts_ms_ = 0;
  double gap_ms_ = 0.0;
  std::int64_t reference_size_ = 0;
  std::uint64_t armed_at_ = 0;
  std::uint64_t history_every_ = 16;
  bool reference_changed_ = true;

  EventMarks marks_;
  ChunkedVector<Row, 64> rows_;
  ChunkedVector<CategoryName, 128> names_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> known_names_;
  std::unique_ptr<Text> text_;

  Seasons seasons_;
  std::vector<Watch> watches_;
  std::vector<Channel> channels_;
  std::vector<std::shared_ptr<const RankBets>> bets_;
};

}  // namespace trimtab::drift
