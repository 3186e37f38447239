// Saving and restoring a segment. Pieces: meta (small, always), rows/words/vectors/names/dictionary
// (chunks, while collecting), reference (once, when armed), watch (detector state, always).
#include <algorithm>

#include "drift/segment.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kMetaTag = make_tag("SEGM");
constexpr std::uint32_t kReferenceTag = make_tag("SEGR");
constexpr std::uint32_t kWatchTag = make_tag("SEGW");
constexpr std::uint32_t kVersion = 3;  // 2: checkpoints, 3: marks in levels

Result<std::string_view> piece_of(const PieceMap& pieces, const std::string& name) {
  const auto at = pieces.find(name);
  if (at == pieces.end()) return fail(Code::kCorrupt, "drift state: no piece " + name);
  return std::string_view(at->second);
}

}  // namespace

void Segment::save(SaveMode mode, std::vector<StatePiece>& out) const {
  ByteWriter meta(kMetaTag, kVersion);
  meta.put_text(name_);
  meta.put(static_cast<std::uint8_t>(state_));
  meta.put(static_cast<std::uint8_t>(provisional_));
  meta.put(since_ts_ms_);
  meta.put(reference_ts_ms_);
  meta.put(gap_ms_);
  meta.put(reference_size_);
  meta.put(events_);
  meta.put(armed_at_);
  meta.put(history_every_);
  out.push_back({prefix_ + "meta", meta.take()});
  rows_.save(prefix_ + "rows/", mode, out);
  word_rows_.save(prefix_ + "words/", mode, out);
  vector_rows_.save(prefix_ + "vectors/", mode, out);
  kept_vectors_.save(prefix_ + "kept/", mode, out);
  names_.save(prefix_ + "names/", mode, out);
  dictionary_.save(prefix_ + "dictionary/", mode, out);
  recent_marks_.save(prefix_ + "marks/", mode, out);
  sparse_marks_.save(prefix_ + "sparse/", mode, out);
  if (mode == SaveMode::kAll || reference_changed_) save_reference(out);
  save_watches(out);
}

void Segment::mark_saved() {
  rows_.mark_saved();
  word_rows_.mark_saved();
  vector_rows_.mark_saved();
  kept_vectors_.mark_saved();
  names_.mark_saved();
  dictionary_.mark_saved();
  recent_marks_.mark_saved();
  sparse_marks_.mark_saved();
  reference_changed_ = false;
}

void Segment::save_reference(std::vector<StatePiece>& out) const {
  ByteWriter bytes(kReferenceTag, kVersion);
  bytes.put(static_cast<std::uint8_t>(words_.has_value()));
  if (words_) words_->save(bytes);
  bytes.put(static_cast<std::uint8_t>(projections_.has_value()));
  if (projections_) projections_->save(bytes);
  bytes.put(seasons_.bytes());
  bytes.put(static_cast<std::uint64_t>(watches_.size()));
  for (const Watch& watch : watches_) {
    bytes.put(static_cast<std::uint64_t>(watch.signal));
    bytes.put(static_cast<std::uint8_t>(watch.calibration.armed));
    bytes.put(watch.calibration.theta);
    bytes.put(watch.calibration.thin);
    bytes.put_text(watch.calibration.reason);
    bytes.put(watch.threshold_ms);
    bytes.put(static_cast<std::uint64_t>(watch.cells));
    bytes.put(static_cast<std::uint64_t>(watch.bets.size()));
    for (const auto& bets : watch.bets) bets->reference().save(bytes);
  }
  out.push_back({prefix_ + "reference", bytes.take()});
}

void Segment::save_watches(std::vector<StatePiece>& out) const {
  ByteWriter bytes(kWatchTag, kVersion);
  for (const Watch& watch : watches_) {
    bytes.put_all(watch.states);
    bytes.put_all(watch.bins);
    bytes.put_all(watch.checkpoint.states);
    bytes.put(watch.checkpoint.event);
    bytes.put(watch.checkpoint.last_event);
    bytes.put(watch.checkpoint.last_ts_ms);
    bytes.put(watch.last_ts_ms);
    bytes.put(watch.last_event);
    bytes.put(watch.fed);
    bytes.put(watch.phase);
    bytes.put(watch.evidence);
    bytes.put(watch.interval_max);
    bytes.put_all(watch.history);
  }
  out.push_back({prefix_ + "watch", bytes.take()});
}

Status Segment::restore(const PieceMap& pieces) {
  TRIMTAB_TRY(const std::string_view meta, piece_of(pieces, prefix_ + "meta"));
  ByteReader in(meta, kMetaTag, kVersion, "drift segment");
  if (in.get_text() != name_) in.reject();
  const auto state = in.get<std::uint8_t>();
  if (state > static_cast<std::uint8_t>(MonitorState::kRefused)) in.reject();
  state_ = static_cast<MonitorState>(state);
  provisional_ = in.get<std::uint8_t>() != 0;
  in.get_into(since_ts_ms_);
  in.get_into(reference_ts_ms_);
  in.get_into(gap_ms_);
  in.get_into(reference_size_);
  in.get_into(events_);
  in.get_into(armed_at_);
  in.get_into(history_every_);
  if (history_every_ == 0 || armed_at_ > events_) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  TRIMTAB_CHECK_OK(rows_.restore(prefix_ + "rows/", pieces));
  TRIMTAB_CHECK_OK(word_rows_.restore(prefix_ + "words/", pieces));
  TRIMTAB_CHECK_OK(vector_rows_.restore(prefix_ + "vectors/", pieces));
  TRIMTAB_CHECK_OK(kept_vectors_.restore(prefix_ + "kept/", pieces));
  TRIMTAB_CHECK_OK(names_.restore(prefix_ + "names/", pieces));
  TRIMTAB_CHECK_OK(dictionary_.restore(prefix_ + "dictionary/", pieces));
  TRIMTAB_CHECK_OK(recent_marks_.restore(prefix_ + "marks/", pieces));
  TRIMTAB_CHECK_OK(sparse_marks_.restore(prefix_ + "sparse/", pieces));
  const bool rows_fit = (!wants_words_ || word_rows_.size() == rows_.size()) &&
                        (!wants_vectors_ || vector_rows_.size() == rows_.size()) &&
                        (state_ != MonitorState::kCalibrating || !rows_.empty()) &&
                        recent_marks_.size() == std::min<std::uint64_t>(events_ + 1, kRecentMarks) -
                                                    (events_ == 0 ? 1 : 0);
  if (!rows_fit) return fail(Code::kCorrupt, "drift segment " + name_ + ": saved rows do not fit");
  known_names_.clear();
  for (const CategoryName& name : names_) known_names_.emplace(name.signal, name.hash);
  known_words_.clear();
  for (const NamedWord& word : dictionary_) known_words_.insert(word.hash);
  TRIMTAB_CHECK_OK(restore_reference(pieces));
  TRIMTAB_CHECK_OK(restore_watches(pieces));
  mark_saved();
  return {};
}

Status Segment::restore_reference(const PieceMap& pieces) {
  TRIMTAB_TRY(const std::string_view piece, piece_of(pieces, prefix_ + "reference"));
  ByteReader in(piece, kReferenceTag, kVersion, "drift reference");
  words_.reset();
  projections_.reset();
  watches_.clear();
  if (in.get<std::uint8_t>() != 0) words_ = WordModel::load(in);
  if (in.get<std::uint8_t>() != 0) projections_ = Projections::load(in);
  seasons_ = Seasons::of(in.get<Seasons::Bytes>());
  const auto count = in.get<std::uint64_t>();
  if (count > plan_->signals.size()) in.reject();
  for (std::uint64_t i = 0; in.ok() && i < count; ++i) {
    Watch watch;
    watch.signal = in.get<std::uint64_t>();
    watch.calibration.armed = in.get<std::uint8_t>() != 0;
    in.get_into(watch.calibration.theta);
    in.get_into(watch.calibration.thin);
    watch.calibration.reason = in.get_text();
    in.get_into(watch.threshold_ms);
    watch.cells = in.get<std::uint64_t>();
    const auto all = in.get<std::uint64_t>();
    if (watch.signal >= plan_->signals.size() || watch.cells == 0 ||
        watch.cells > seasons_.cells() || all % watch.cells != 0 ||
        all / watch.cells > kProjections || (watch.calibration.armed && all == 0)) {
      in.reject();
      break;
    }
    watch.channels = all / watch.cells;
    const RankOptions options{.half_life_events = plan_->half_life_events,
                              .min_effect = plan_->signals[watch.signal].min_effect};
    for (std::uint64_t c = 0; in.ok() && c < all; ++c) {
      watch.bets.push_back(std::make_shared<const RankBets>(Reference::load(in), options));
    }
    watches_.push_back(std::move(watch));
  }
  return in.finish();
}

Status Segment::restore_watches(const PieceMap& pieces) {
  TRIMTAB_TRY(const std::string_view piece, piece_of(pieces, prefix_ + "watch"));
  ByteReader in(piece, kWatchTag, kVersion, "drift detectors");
  for (Watch& watch : watches_) {
    const std::size_t channels = watch.channels;
    watch.states = in.get_all<RankState>();
    watch.bins = in.get_all<std::uint8_t>();
    watch.checkpoint.states = in.get_all<RankState>();
    in.get_into(watch.checkpoint.event);
    in.get_into(watch.checkpoint.last_event);
    in.get_into(watch.checkpoint.last_ts_ms);
    in.get_into(watch.last_ts_ms);
    in.get_into(watch.last_event);
    in.get_into(watch.fed);
    in.get_into(watch.phase);
    in.get_into(watch.evidence);
    in.get_into(watch.interval_max);
    watch.history = in.get_all<float>();
    bool fits = watch.states.size() == channels && watch.bins.size() == kBinRing * channels &&
                watch.history.size() <= kHistory && watch.checkpoint.states.size() == channels &&
                watch.checkpoint.event <= events_ &&
                (!watch.calibration.armed || state_ != MonitorState::kArmed ||
                 events_ - watch.checkpoint.event <= kBinRing);
    for (std::size_t i = 0; fits && i < watch.bins.size(); ++i) {
      if (watch.bins[i] == 255) continue;
      // The newest event whose slot this is.
      const std::uint64_t event = events_ - (events_ - i / channels) % kBinRing;
      if (event > events_) in.reject();
      if (!in.ok()) break;
      const std::size_t at = cell_at(watch, event) * channels + i % channels;
      fits = watch.bins[i] < watch.bets[at]->reference().bins();
    }
    if (!fits) in.reject();
  }
  return in.finish();
}

}  // namespace trimtab::drift
