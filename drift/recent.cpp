#include "drift/recent.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace trimtab::drift {
namespace {

constexpr std::size_t kShownWords = 10;
constexpr std::size_t kShownExamples = 3;
constexpr double kLeastZ = 2.0;

struct Score {
  double z = 0.0;
  WordChange change;
};

double z_score(double reference, double n_reference, double current, double n_current) {
  const double pooled = (reference * n_reference + current * n_current) / (n_reference + n_current);
  const double variance = pooled * (1.0 - pooled) * (1.0 / n_reference + 1.0 / n_current);
  return variance > 0.0 ? (current - reference) / std::sqrt(variance) : 0.0;
}

std::vector<WordChange> strongest(std::vector<Score>& scores) {
  std::sort(scores.begin(), scores.end(), [](const Score& a, const Score& b) {
    return a.z != b.z ? a.z > b.z : a.change.word < b.change.word;
  });
  std::vector<WordChange> top;
  for (Score& score : scores) {
    if (top.size() == kShownWords) break;
    top.push_back(std::move(score.change));
  }
  return top;
}

}  // namespace

RecentRecord& RecentRecords::add() {
  const std::size_t slot = added_++ % kKept;
  if (slot == ring_.size()) ring_.push_back({});
  return ring_.change(slot);
}

std::vector<const RecentRecord*> RecentRecords::newest(std::size_t count) const {
  std::vector<const RecentRecord*> records;
  const std::uint64_t kept = std::min<std::uint64_t>({count, added_, kKept});
  for (std::uint64_t back = 1; back <= kept; ++back) {
    records.push_back(&ring_[(added_ - back) % kKept]);
  }
  return records;
}

Status RecentRecords::restore(const PieceMap& pieces, std::uint64_t added) {
  TRIMTAB_CHECK_OK(ring_.restore(kPrefix, pieces));
  if (ring_.size() != std::min<std::uint64_t>(added, kKept)) {
    return fail(Code::kCorrupt, "drift state: the ring of recent records does not fit");
  }
  added_ = added;
  return {};
}

WordChanges word_changes(const WordModel& reference,
                         const std::vector<const RecentRecord*>& records) {
  struct Seen {
    Word word;
    double count = 0.0;
    std::vector<std::string> ids;
  };
  std::map<std::uint32_t, Seen> seen;
  for (const RecentRecord* record : records) {
    for (std::size_t i = 0; i < record->word_count; ++i) {
      Seen& entry = seen[word_hash(record->words[i])];
      entry.word = record->words[i];
      entry.count += 1.0;
      if (entry.ids.size() < kShownExamples) entry.ids.emplace_back(record->id.view());
    }
  }
  const auto n = static_cast<double>(records.size());
  const auto n_reference = static_cast<double>(reference.documents());
  if (records.empty() || n_reference <= 0.0) return {};
  std::vector<Score> gained;
  std::vector<Score> lost;
  for (auto& [hash, entry] : seen) {
    const double before = reference.share(hash);
    const double now = entry.count / n;
    const double z = z_score(before, n_reference, now, n);
    if (z < kLeastZ || entry.count < 2.0) continue;
    gained.push_back({z, {std::string(entry.word.view()), before, now, std::move(entry.ids)}});
  }
  for (const NamedWord& word : reference.top()) {
    const auto at = seen.find(word.hash);
    const double before = reference.share(word.hash);
    const double now = at == seen.end() ? 0.0 : at->second.count / n;
    const double z = -z_score(before, n_reference, now, n);
    if (z >= kLeastZ) lost.push_back({z, {std::string(word.word.view()), before, now, {}}});
  }
  return {strongest(gained), strongest(lost)};
}

}  // namespace trimtab::drift
