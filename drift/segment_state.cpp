// Saving and restoring a segment. Pieces: meta (small, always), rows/words/vectors/names/dictionary
// (chunks, while collecting), reference (once, when armed), watch (detector state, always).
#include <algorithm>

#include "drift/segment.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kMetaTag = make_tag("SEGM");
constexpr std::uint32_t kReferenceTag = make_tag("SEGR");
constexpr std::uint32_t kWatchTag = make_tag("SEGW");
constexpr std::uint32_t kVersion = 5;  // 4: 1 KB a signal, 5: quick_hash

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
  meta.put(marks_.events());
  meta.put(marks_.newest());
  meta.put(armed_at_);
  meta.put(history_every_);
  out.push_back({prefix_ + "meta", meta.take()});
  rows_.save(prefix_ + "rows/", mode, out);
  names_.save(prefix_ + "names/", mode, out);
  if (text_) {
    text_->word_rows.save(prefix_ + "words/", mode, out);
    text_->vector_rows.save(prefix_ + "vectors/", mode, out);
    text_->kept_vectors.save(prefix_ + "kept/", mode, out);
    text_->dictionary.save(prefix_ + "dictionary/", mode, out);
  }
  marks_.save(prefix_, mode, out);
  if (mode == SaveMode::kAll || reference_changed_) save_reference(out);
  save_watches(out);
}

void Segment::mark_saved() {
  rows_.mark_saved();
  names_.mark_saved();
  if (text_) {
    text_->word_rows.mark_saved();
    text_->vector_rows.mark_saved();
    text_->kept_vectors.mark_saved();
    text_->dictionary.mark_saved();
  }
  marks_.mark_saved();
  reference_changed_ = false;
}

void Segment::save_reference(std::vector<StatePiece>& out) const {
  ByteWriter bytes(kReferenceTag, kVersion);
  bytes.put(static_cast<std::uint8_t>(words() != nullptr));
  if (words() != nullptr) words()->save(bytes);
  bytes.put(static_cast<std::uint8_t>(projections() != nullptr));
  if (projections() != nullptr) projections()->save(bytes);
  bytes.put(seasons_.bytes());
  bytes.put(static_cast<std::uint64_t>(watches_.size()));
  for (const Watch& watch : watches_) {
    bytes.put(watch.signal);
    bytes.put(static_cast<std::uint8_t>(watch.armed));
    bytes.put(watch.theta);
    bytes.put(watch.thin);
    bytes.put_text(watch.reason ? *watch.reason : std::string());
    bytes.put(watch.threshold_ms);
    bytes.put(watch.cells);
    bytes.put(watch.channels);
    for (std::size_t i = 0; i < std::size_t{watch.cells} * watch.channels; ++i) {
      bets_[watch.first_bets + i]->reference().save(bytes);
    }
  }
  out.push_back({prefix_ + "reference", bytes.take()});
}

void Segment::save_watches(std::vector<StatePiece>& out) const {
  ByteWriter bytes(kWatchTag, kVersion);
  for (const Watch& watch : watches_) {
    for (std::size_t c = 0; c < watch.channels; ++c) bytes.put(channel_of(watch, c));
    bytes.put(watch.checkpoint_event);
    bytes.put(watch.checkpoint_last_event);
    bytes.put(watch.checkpoint_last_ts_ms);
    bytes.put(watch.last_ts_ms);
    bytes.put(watch.last_event);
    bytes.put(watch.fed);
    bytes.put(watch.phase);
    bytes.put(watch.evidence);
    bytes.put(watch.interval_evidence);
    bytes.put(watch.points);
    bytes.put(watch.history);
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
  const auto events = in.get<std::uint64_t>();
  const auto newest = in.get<Mark>();
  in.get_into(armed_at_);
  in.get_into(history_every_);
  if (history_every_ == 0 || armed_at_ > events) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  TRIMTAB_CHECK_OK(rows_.restore(prefix_ + "rows/", pieces));
  TRIMTAB_CHECK_OK(names_.restore(prefix_ + "names/", pieces));
  TRIMTAB_CHECK_OK(marks_.restore(prefix_, pieces, events, newest));
  if (text_) TRIMTAB_CHECK_OK(restore_text(pieces));
  if (state_ == MonitorState::kCalibrating && rows_.empty()) {
    return fail(Code::kCorrupt, "drift segment " + name_ + ": saved rows do not fit");
  }
  known_names_.clear();
  for (const CategoryName& name : names_) known_names_.emplace(name.signal, name.hash);
  TRIMTAB_CHECK_OK(restore_reference(pieces));
  TRIMTAB_CHECK_OK(restore_watches(pieces));
  mark_saved();
  return {};
}

Status Segment::restore_text(const PieceMap& pieces) {
  TRIMTAB_CHECK_OK(text_->word_rows.restore(prefix_ + "words/", pieces));
  TRIMTAB_CHECK_OK(text_->vector_rows.restore(prefix_ + "vectors/", pieces));
  TRIMTAB_CHECK_OK(text_->kept_vectors.restore(prefix_ + "kept/", pieces));
  TRIMTAB_CHECK_OK(text_->dictionary.restore(prefix_ + "dictionary/", pieces));
  if ((text_->wants_words && text_->word_rows.size() != rows_.size()) ||
      (text_->wants_vectors && text_->vector_rows.size() != rows_.size())) {
    return fail(Code::kCorrupt, "drift segment " + name_ + ": saved rows do not fit");
  }
  text_->known_words.clear();
  for (const NamedWord& word : text_->dictionary) text_->known_words.insert(word.hash);
  return {};
}

// One signal's part of the reference; its channels are there, empty, when it is read.
Result<Segment::Watch> Segment::restore_watch(ByteReader& in) {
  const auto signal = in.get<std::uint8_t>();
  if (signal >= plan_->signals.size()) in.reject();
  TRIMTAB_CHECK_OK(in.so_far());
  Watch watch = plain_watch(signal);
  watch.armed = in.get<std::uint8_t>() != 0;
  in.get_into(watch.theta);
  in.get_into(watch.thin);
  const std::string reason = in.get_text();
  in.get_into(watch.threshold_ms);
  in.get_into(watch.cells);
  in.get_into(watch.channels);
  if (watch.cells == 0 || watch.cells > seasons_.cells() || watch.channels > kProjections ||
      watch.thin == 0 || (watch.armed && watch.channels == 0)) {
    in.reject();
  }
  TRIMTAB_CHECK_OK(in.so_far());
  if (!reason.empty()) watch.reason = std::make_unique<const std::string>(reason);
  watch.alarms = watch.armed && plan_->signals[watch.signal].alarm;
  watch.first_channel = static_cast<std::uint32_t>(channels_.size());
  watch.first_bets = static_cast<std::uint32_t>(bets_.size());
  channels_.resize(channels_.size() + watch.channels);
  const RankOptions options{.half_life_events = plan_->half_life_events,
                            .min_effect = plan_->signals[watch.signal].min_effect};
  for (std::size_t i = 0; in.ok() && i < std::size_t{watch.cells} * watch.channels; ++i) {
    bets_.push_back(std::make_shared<const RankBets>(Reference::load(in), options));
  }
  return watch;
}

Status Segment::restore_reference(const PieceMap& pieces) {
  TRIMTAB_TRY(const std::string_view piece, piece_of(pieces, prefix_ + "reference"));
  ByteReader in(piece, kReferenceTag, kVersion, "drift reference");
  watches_.clear();
  channels_.clear();
  bets_.clear();
  std::optional<WordModel> words;
  std::optional<Projections> projections;
  if (in.get<std::uint8_t>() != 0) words = WordModel::load(in);
  if (in.get<std::uint8_t>() != 0) projections = Projections::load(in);
  if (text_) {
    text_->words = std::move(words);
    text_->projections = std::move(projections);
  } else if (words || projections) {
    in.reject();
  }
  seasons_ = Seasons::of(in.get<Seasons::Bytes>());
  const auto count = in.get<std::uint64_t>();
  if (count > plan_->signals.size()) in.reject();
  for (std::uint64_t i = 0; in.ok() && i < count; ++i) {
    TRIMTAB_TRY(Watch watch, restore_watch(in));
    watches_.push_back(std::move(watch));
  }
  watches_.shrink_to_fit();
  channels_.shrink_to_fit();
  bets_.shrink_to_fit();
  return in.finish();
}

// What is read back must not lead out of its tables.
bool Segment::fits(const Watch& watch) const {
  if (watch.points >= kHistory || watch.checkpoint_event > events() ||
      watch.last_event > events() || watch.checkpoint_last_event > watch.checkpoint_event ||
      (watch.armed && state_ == MonitorState::kArmed &&
       events() - watch.checkpoint_event > kBinRing)) {
    return false;
  }
  const std::uint64_t span = std::min<std::uint64_t>(kBinRing, events());
  const auto cells = watch.channels > 0 ? newest_cells(watch, span) : std::vector<std::size_t>{};
  for (std::size_t back = 0; back < cells.size(); ++back) {
    const std::uint64_t event = events() - back;
    if (!fed(watch, event)) continue;
    for (std::size_t c = 0; c < watch.channels; ++c) {
      const std::size_t bins = bets_of(watch, cells[back], c).reference().bins();
      if (channel_of(watch, c).bins.get(event) >= bins) return false;
    }
  }
  return true;
}

Status Segment::restore_watches(const PieceMap& pieces) {
  TRIMTAB_TRY(const std::string_view piece, piece_of(pieces, prefix_ + "watch"));
  ByteReader in(piece, kWatchTag, kVersion, "drift detectors");
  for (Watch& watch : watches_) {
    for (std::size_t c = 0; c < watch.channels; ++c) {
      in.get_into(channels_[watch.first_channel + c]);
    }
    in.get_into(watch.checkpoint_event);
    in.get_into(watch.checkpoint_last_event);
    in.get_into(watch.checkpoint_last_ts_ms);
    in.get_into(watch.last_ts_ms);
    in.get_into(watch.last_event);
    in.get_into(watch.fed);
    in.get_into(watch.phase);
    in.get_into(watch.evidence);
    in.get_into(watch.interval_evidence);
    in.get_into(watch.points);
    in.get_into(watch.history);
    if (in.ok() && !fits(watch)) in.reject();
  }
  return in.finish();
}

}  // namespace trimtab::drift
