#include "drift/sessions.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("SESS");
constexpr std::uint32_t kVersion = 1;
const char kMetaPiece[] = "sessions/meta";
const char kRingPrefix[] = "sessions/ring/";

}  // namespace

void SessionWindow::drop_oldest() {
  first_ts_ms_.erase(ring_[head_].session);
  head_ = (head_ + 1) % kMaxSessions;
  --count_;
}

bool SessionWindow::counts(std::uint64_t session, std::int64_t ts_ms) {
  while (count_ > 0 && ring_[head_].ts_ms + window_ms_ <= ts_ms) drop_oldest();
  if (session == 0) return true;
  // A late clock at the head may hide an expired entry behind it: look at the entry itself.
  const auto at = first_ts_ms_.find(session);
  if (at != first_ts_ms_.end()) {
    if (ts_ms < at->second + window_ms_) return false;
    at->second = ts_ms;
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
  first_ts_ms_.emplace(session, ts_ms);
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
    const auto at = first_ts_ms_.find(entry.session);
    if (at != first_ts_ms_.end() && at->second != entry.ts_ms) {
      newer.push_back({entry.session, at->second});
    }
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
    first_ts_ms_.emplace(ring_[slot].session, ring_[slot].ts_ms);
  }
  for (const Entry& entry : newer) first_ts_ms_[entry.session] = entry.ts_ms;
  return {};
}

}  // namespace trimtab::drift
