#include "drift/sessions.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("SESS");
constexpr std::uint32_t kVersion = 2;  // 2: quick_hash
constexpr std::size_t kAhead = 8;  // entries that will be dropped soon
const char kMetaPiece[] = "sessions/meta";
const char kRingPrefix[] = "sessions/ring/";

}  // namespace

std::size_t SessionTable::home(std::uint64_t session) const {
  return static_cast<std::size_t>((session * 0x9e3779b97f4a7c15ULL) >> 32) & (slots_.size() - 1);
}

std::size_t SessionTable::place(std::uint64_t session) const {
  std::size_t at = home(session);
  while (slots_[at].session != 0 && slots_[at].session != session) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

std::int64_t* SessionTable::find(std::uint64_t session) {
  Slot& slot = slots_[place(session)];
  return slot.session == session ? &slot.ts_ms : nullptr;
}

const std::int64_t* SessionTable::find(std::uint64_t session) const {
  const Slot& slot = slots_[place(session)];
  return slot.session == session ? &slot.ts_ms : nullptr;
}

void SessionTable::put(std::uint64_t session, std::int64_t ts_ms) {
  std::size_t at = place(session);
  if (slots_[at].session == 0) {
    if (2 * (count_ + 1) > slots_.size()) {
      grow();
      at = place(session);
    }
    ++count_;
  }
  slots_[at] = {session, ts_ms};
}

void SessionTable::grow() {
  std::vector<Slot> before(2 * slots_.size());
  before.swap(slots_);
  for (const Slot& slot : before) {
    if (slot.session != 0) slots_[place(slot.session)] = slot;
  }
}

// What follows in the cluster moves up where its way from home leads over the hole.
void SessionTable::erase(std::uint64_t session) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t hole = place(session);
  if (slots_[hole].session == 0) return;
  --count_;
  for (std::size_t at = (hole + 1) & mask; slots_[at].session != 0; at = (at + 1) & mask) {
    const std::size_t from_home = (at - home(slots_[at].session)) & mask;
    if (from_home < ((at - hole) & mask)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = {};
}

void SessionTable::clear() {
  slots_.assign(slots_.size(), {});
  count_ = 0;
}

void SessionWindow::drop_oldest() {
  first_ts_ms_.erase(ring_[head_].session);
  head_ = (head_ + 1) % kMaxSessions;
  --count_;
  if (count_ > kAhead) first_ts_ms_.expect(ring_[(head_ + kAhead) % kMaxSessions].session);
}

bool SessionWindow::counts(std::uint64_t session, std::int64_t ts_ms) {
  while (count_ > 0 && ring_[head_].ts_ms + window_ms_ <= ts_ms) drop_oldest();
  if (session == 0) return true;
  // A late clock at the head may hide an expired entry behind it: look at the entry itself.
  if (std::int64_t* first = first_ts_ms_.find(session)) {
    if (ts_ms < *first + window_ms_) return false;
    *first = ts_ms;
    return true;
  }
  if (count_ == kMaxSessions) drop_oldest();
  const std::size_t slot = (head_ + count_) % kMaxSessions;
  if (slot == ring_.size()) {
    ring_.push_back({session, ts_ms});
  } else {
    ring_.set(slot, {session, ts_ms});
  }
  ++count_;
  first_ts_ms_.put(session, ts_ms);
  return true;
}

void SessionWindow::save(SaveMode mode, std::vector<StatePiece>& out) const {
  ByteWriter bytes(kTag, kVersion);
  bytes.put(static_cast<std::uint64_t>(head_));
  bytes.put(static_cast<std::uint64_t>(count_));
  // Windows that were opened again keep their newer time.
  std::vector<Entry> newer;
  for (std::size_t i = 0; i < count_; ++i) {
    const Entry& entry = ring_[(head_ + i) % kMaxSessions];
    const std::int64_t* first = first_ts_ms_.find(entry.session);
    if (first != nullptr && *first != entry.ts_ms) newer.push_back({entry.session, *first});
  }
  bytes.put_all(newer);
  out.push_back({kMetaPiece, bytes.take()});
  ring_.save(kRingPrefix, mode, out);
}

Status SessionWindow::restore(const PieceMap& pieces) {
  const auto meta = pieces.find(kMetaPiece);
  if (meta == pieces.end()) return fail(Code::kCorrupt, "drift state: no piece sessions/meta");
  ByteReader in(meta->second, kTag, kVersion, "drift sessions");
  head_ = in.get<std::uint64_t>();
  count_ = in.get<std::uint64_t>();
  const auto newer = in.get_all<Entry>();
  TRIMTAB_CHECK_OK(in.finish());
  TRIMTAB_CHECK_OK(ring_.restore(kRingPrefix, pieces));
  if (head_ >= kMaxSessions || count_ > kMaxSessions || ring_.size() > kMaxSessions) {
    return fail(Code::kCorrupt, "drift sessions: saved ring does not fit");
  }
  first_ts_ms_.clear();
  for (std::size_t i = 0; i < count_; ++i) {
    const std::size_t slot = (head_ + i) % kMaxSessions;
    if (slot >= ring_.size()) return fail(Code::kCorrupt, "drift sessions: saved ring is short");
    if (ring_[slot].session == 0) return fail(Code::kCorrupt, "drift sessions: a session of 0");
    first_ts_ms_.put(ring_[slot].session, ring_[slot].ts_ms);
  }
  for (const Entry& entry : newer) {
    if (entry.session == 0) return fail(Code::kCorrupt, "drift sessions: a session of 0");
    first_ts_ms_.put(entry.session, entry.ts_ms);
  }
  return {};
}

}  // namespace trimtab::drift
