#include "daemon/record_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <set>

#include "base/files.h"
#include "base/hash.h"
#include "daemon/record_segment.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

// Sampling must not follow the other hashes of the unit (assignment, evaluation split).
constexpr std::uint64_t kSampleSeed = 0x7374'6f72'65ULL;  // "store"

// The block read last. A job reads thousands of records that lie side by side; to inflate their
// block for each of them would hold control up for seconds.
class BlockCache {
 public:
  // Calls `use` with the block's plain lines, under the lock.
  template <typename Use>
  auto with(const fs::path& file, std::int64_t segment, std::int64_t offset, Use use)
      -> decltype(use(std::string_view())) {
    const std::lock_guard lock(mutex_);
    if (segment != segment_ || offset != offset_) {
      segment_ = -1;
      TRIMTAB_TRY(plain_, read_block(file, offset));
      segment_ = segment;
      offset_ = offset;
    }
    return use(std::string_view(plain_));
  }
  // Before bytes on the disk may change or vanish.
  void forget() {
    const std::lock_guard lock(mutex_);
    segment_ = -1;
    plain_ = {};
  }

 private:
  std::mutex mutex_;
  std::int64_t segment_ = -1, offset_ = 0;
  std::string plain_;
};

fs::path segment_path(const fs::path& folder, std::int64_t segment) {
  return folder / fmt::format("seg-{:08}.zst", segment);
}

std::optional<std::int64_t> segment_number(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.starts_with("seg-") || !name.ends_with(".zst")) return std::nullopt;
  std::int64_t number = 0;
  const char* end = name.data() + name.size() - 4;
  const auto [at, error] = std::from_chars(name.data() + 4, end, number);
  if (error != std::errc() || at != end) return std::nullopt;
  return number;
}

}  // namespace

struct RecordStore::State {
  fs::path folder;
  config::StoreSettings settings;
  StateStore& state;
  Redactor redact;

  Segment durable;       // the open segment as it is committed; its file exists once bytes were
  Segment current;       // as the open transaction will have it
  bool flushed = false;  // current is in a transaction whose end is not known yet
  SegmentFile file;      // closed for a segment that has nothing yet
  std::string block;     // plain lines of the open block
  std::int64_t block_records = 0;
  std::int64_t second = -1;  // of the rate bound
  std::int64_t in_second = 0;
  std::uint64_t skipped = 0;
  std::int64_t closed_bytes = 0;
  std::unique_ptr<BlockCache> cache = std::make_unique<BlockCache>();

  void new_segment(std::int64_t number);
  void settle();
  Status rewrite(std::int64_t segment, const std::set<std::int64_t>& rows, std::int64_t now_ms);
};

void RecordStore::State::new_segment(std::int64_t number) {
  file = SegmentFile();
  current = durable = Segment{number, kSegmentHeaderBytes, 0, 0, 0, false};
}

// What was flushed and not rolled back has been committed.
void RecordStore::State::settle() {
  if (!flushed) return;
  flushed = false;
  block.clear();
  block_records = 0;
  durable = current;
  if (!durable.closed) return;
  closed_bytes += durable.bytes;
  new_segment(durable.segment + 1);
}

Result<std::unique_ptr<RecordStore>> RecordStore::open(const fs::path& folder,
                                                       const config::StoreSettings& settings,
                                                       StateStore& state, Redactor redact) {
  TRIMTAB_CHECK_OK(make_folders(folder));
  auto opened = std::make_unique<State>(State{folder, settings, state, std::move(redact)});
  TRIMTAB_TRY(const auto segments, state.segments());
  for (const Segment& segment : segments) {
    if (segment.closed) opened->closed_bytes += segment.bytes;
  }
  if (!segments.empty() && !segments.back().closed) {
    TRIMTAB_TRY(opened->file, SegmentFile::open(segment_path(folder, segments.back().segment),
                                                segments.back().bytes));
    opened->current = opened->durable = segments.back();
  } else {
    opened->new_segment(segments.empty() ? 1 : segments.back().segment + 1);
  }
  std::unique_ptr<RecordStore> store(new RecordStore(std::move(opened)));
  TRIMTAB_CHECK_OK(store->sweep());
  return store;
}

RecordStore::RecordStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
RecordStore::~RecordStore() = default;

bool RecordStore::samples(std::string_view unit) const {
  return stable_fraction(unit, kSampleSeed) < state_->settings.rate;
}

std::optional<TextPosition> RecordStore::append(const InferenceRecord& record,
                                                std::int64_t now_ms) {
  State& s = *state_;
  if (s.settings.max_records_per_s > 0) {
    if (now_ms / 1000 != s.second) {
      s.second = now_ms / 1000;
      s.in_second = 0;
    }
    if (s.in_second >= s.settings.max_records_per_s) {
      ++s.skipped;
      return std::nullopt;
    }
    ++s.in_second;
  }
  s.settle();
  const auto start = static_cast<std::int64_t>(s.block.size());
  append_record_json(record, s.redact, s.block);
  const auto size = static_cast<std::int64_t>(s.block.size()) - start;
  s.block += '\n';
  ++s.block_records;
  return TextPosition{s.current.segment, s.current.bytes, start, size};
}

Status RecordStore::flush(Transaction& transaction, std::int64_t now_ms) {
  State& s = *state_;
  s.settle();
  if (s.block_records == 0) return {};
  if (!s.file.is_open()) {
    // An orphan of a crash before its commit may lie there.
    const fs::path path = segment_path(s.folder, s.current.segment);
    TRIMTAB_CHECK_OK(remove_tree(path));
    TRIMTAB_TRY(s.file, SegmentFile::open(path, 0));
  }
  TRIMTAB_TRY(const std::string packed, pack_block(s.block));
  TRIMTAB_CHECK_OK(s.file.append(packed));
  s.current.bytes = s.file.length();
  s.current.records += s.block_records;
  if (s.current.first_ms == 0) s.current.first_ms = now_ms;
  s.current.last_ms = now_ms;
  s.current.closed = s.current.bytes >= s.settings.segment_bytes;
  TRIMTAB_CHECK_OK(transaction.put_segment(s.current));
  s.flushed = true;
  return {};
}

Status RecordStore::rollback() {
  State& s = *state_;
  s.flushed = false;
  s.block.clear();
  s.block_records = 0;
  s.current = s.durable;
  s.cache->forget();
  return s.file.is_open() ? s.file.truncate(s.durable.bytes) : Status();
}

Result<StoredRecord> RecordStore::read(const TextPosition& position) const {
  if (!position.stored()) return fail(Code::kNotFound, "the record's text was not stored");
  const fs::path file = segment_path(state_->folder, position.segment);
  return state_->cache->with(
      file, position.segment, position.block,
      [&](std::string_view plain) -> Result<StoredRecord> {
        const auto size = static_cast<std::int64_t>(plain.size());
        if (position.start < 0 || position.size < 0 || position.start + position.size > size) {
          return fail(Code::kCorrupt, file.string() + ": a record lies outside its block");
        }
        return StoredRecord{std::string(plain.substr(static_cast<std::size_t>(position.start),
                                                     static_cast<std::size_t>(position.size)))};
      });
}

Result<std::vector<std::int64_t>> RecordStore::retain(Transaction& transaction,
                                                      std::int64_t now_ms) {
  State& s = *state_;
  TRIMTAB_TRY(const auto segments, s.state.segments());
  std::int64_t total = 0;
  for (const Segment& segment : segments) total += segment.bytes;
  std::vector<std::int64_t> dropped;
  for (const Segment& segment : segments) {
    if (!segment.closed) continue;
    const bool old =
        s.settings.retention_age_ms > 0 && segment.last_ms < now_ms - s.settings.retention_age_ms;
    const bool much = s.settings.retention_bytes > 0 && total > s.settings.retention_bytes;
    if (!old && !much) break;  // segments lie in the order of time
    TRIMTAB_CHECK_OK(transaction.remove_segment(segment.segment));
    total -= segment.bytes;
    s.closed_bytes -= segment.bytes;
    dropped.push_back(segment.segment);
  }
  return dropped;
}

Status RecordStore::sweep() {
  State& s = *state_;
  s.cache->forget();
  TRIMTAB_TRY(const auto segments, s.state.segments());
  std::set<std::int64_t> named{s.current.segment};
  for (const Segment& segment : segments) named.insert(segment.segment);
  std::error_code error;
  std::vector<fs::path> orphans;
  for (const auto& entry : fs::directory_iterator(s.folder, error)) {
    const auto number = segment_number(entry.path());
    if (number && !named.contains(*number)) orphans.push_back(entry.path());
  }
  if (error) return fail(Code::kIo, s.folder.string() + ": cannot list: " + error.message());
  for (const fs::path& orphan : orphans) TRIMTAB_CHECK_OK(remove_tree(orphan));
  return {};
}

// Writes the segment's records except `rows` into a new segment and moves their positions there.
// The old file is unlinked by sweep() after the commit.
Status RecordStore::State::rewrite(std::int64_t segment, const std::set<std::int64_t>& rows,
                                   std::int64_t now_ms) {
  TRIMTAB_TRY(const auto records, state.records_in_segment(segment));
  std::int64_t number = current.segment;
  TRIMTAB_TRY(const auto segments, state.segments());
  for (const Segment& known : segments) number = std::max(number, known.segment);
  ++number;
  const fs::path path = segment_path(folder, number);
  TRIMTAB_CHECK_OK(remove_tree(path));
  TRIMTAB_TRY(SegmentFile out, SegmentFile::open(path, 0));
  TRIMTAB_TRY(Transaction write, state.begin());
  Segment made{number, 0, 0, now_ms, now_ms, true};
  for (const Segment& known : segments) {
    if (known.segment != segment) continue;
    made.first_ms = known.first_ms;  // retention goes by the age of the records
    made.last_ms = known.last_ms;
  }
  std::size_t at = 0;
  while (at < records.size()) {
    const std::int64_t block_offset = records[at].text.block;
    TRIMTAB_TRY(const std::string plain, read_block(segment_path(folder, segment), block_offset));
    std::string kept;
    for (; at < records.size() && records[at].text.block == block_offset; ++at) {
      const RecordRow& record = records[at];
      if (rows.contains(record.row)) continue;
      const TextPosition moved{number, out.length(), static_cast<std::int64_t>(kept.size()),
                               record.text.size};
      kept.append(plain, static_cast<std::size_t>(record.text.start),
                  static_cast<std::size_t>(record.text.size));
      kept += '\n';
      TRIMTAB_CHECK_OK(write.set_text(record.row, moved));
      ++made.records;
    }
    if (kept.empty()) continue;
    TRIMTAB_TRY(const std::string packed, pack_block(kept));
    TRIMTAB_CHECK_OK(out.append(packed));
  }
  for (const std::int64_t row : rows) TRIMTAB_CHECK_OK(write.remove_record(row));
  made.bytes = out.length();
  TRIMTAB_CHECK_OK(write.remove_segment(segment));
  if (made.records > 0) TRIMTAB_CHECK_OK(write.put_segment(made));
  TRIMTAB_CHECK_OK(write.commit());
  if (made.records > 0) closed_bytes += made.bytes;
  if (segment == current.segment) {
    new_segment(number + 1);
    return {};
  }
  for (const Segment& known : segments) {
    if (known.segment == segment) closed_bytes -= known.bytes;
  }
  return {};
}

Result<Erased> RecordStore::erase(std::string_view user_id, std::string_view session_id,
                                  std::int64_t now_ms) {
  State& s = *state_;
  s.settle();
  if (s.block_records != 0) {
    return fail(Code::kConflict, "erase: a batch is open; commit it first");
  }
  if (user_id.empty() && session_id.empty()) {
    return fail(Code::kInvalid, "erase: name a user or a session");
  }
  TRIMTAB_TRY(const auto records, s.state.records_of_person(person_hash("user", user_id),
                                                            person_hash("session", session_id)));
  std::map<std::int64_t, std::set<std::int64_t>> by_segment;
  Erased erased;
  for (const RecordRow& record : records) {
    by_segment[record.text.segment].insert(record.row);
    erased.record_ids.push_back(record.id);
    ++erased.records;
    TRIMTAB_TRY(const auto count, s.state.count_feedback_of(record.row));
    erased.feedback += count;
  }
  for (const auto& [segment, rows] : by_segment) {
    if (segment != 0) {
      TRIMTAB_CHECK_OK(s.rewrite(segment, rows, now_ms));
      ++erased.segments_rewritten;
      continue;
    }
    TRIMTAB_TRY(Transaction write, s.state.begin());
    for (const std::int64_t row : rows) TRIMTAB_CHECK_OK(write.remove_record(row));
    TRIMTAB_CHECK_OK(write.commit());
  }
  TRIMTAB_CHECK_OK(sweep());
  TRIMTAB_CHECK_OK(s.state.scrub());
  return erased;
}

std::uint64_t RecordStore::skipped() const { return state_->skipped; }
std::int64_t RecordStore::bytes() const { return state_->closed_bytes + state_->current.bytes; }

std::uint64_t person_hash(std::string_view kind, std::string_view id) {
  if (id.empty()) return 0;
  const std::uint64_t hash = stable_hash(id, stable_hash(kind));
  return hash == 0 ? 1 : hash;
}

}  // namespace trimtab::daemon
