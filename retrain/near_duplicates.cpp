#include "retrain/near_duplicates.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace trimtab::retrain {
namespace {

constexpr std::size_t kShingle = 5;
constexpr std::size_t kMostHashes = 64;

std::uint64_t mix(std::uint64_t x) {  // SplitMix64's finisher
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t shingle_at(const char* at, std::size_t length) {
  std::uint64_t bytes = length;
  for (std::size_t i = 0; i < length; ++i) {
    bytes = (bytes << 8) | static_cast<unsigned char>(at[i]);
  }
  return bytes;
}

// Calls `visit` with each shingle's own value (5 bytes fit: no collision before hashing).
template <typename Visit>
void for_each_shingle(std::string_view text, Visit visit) {
  if (text.size() < kShingle) {
    visit(shingle_at(text.data(), text.size()));
    return;
  }
  for (std::size_t i = 0; i + kShingle <= text.size(); ++i) visit(shingle_at(&text[i], kShingle));
}

std::vector<std::uint64_t> shingle_set(std::string_view text) {
  std::vector<std::uint64_t> set;
  set.reserve(text.size() + 1);
  for_each_shingle(text, [&](std::uint64_t shingle) { set.push_back(shingle); });
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return set;
}

// Multiply-add hashing mod 2^64, upper half: 2-universal (Dietzfelbinger 1996).
struct Hashes {
  std::array<std::uint64_t, kMostHashes> multiply{};
  std::array<std::uint64_t, kMostHashes> add{};
};

const Hashes& hashes() {
  static const Hashes table = [] {
    Hashes made;
    for (std::size_t i = 0; i < kMostHashes; ++i) {
      made.multiply[i] = mix(2 * i + 1) | 1;
      made.add[i] = mix(2 * i + 2);
    }
    return made;
  }();
  return table;
}

std::size_t rows_for(double threshold) { return threshold >= 0.75 ? 4 : threshold >= 0.6 ? 3 : 2; }

}  // namespace

std::string normalize_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool space = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && byte < 0x80) {
      space = true;
      continue;
    }
    if (space && !out.empty()) out += ' ';
    space = false;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

double shingle_jaccard(std::string_view a, std::string_view b) {
  const auto left = shingle_set(a);
  const auto right = shingle_set(b);
  std::size_t shared = 0;
  for (std::size_t i = 0, j = 0; i < left.size() && j < right.size();) {
    if (left[i] == right[j]) {
      ++shared, ++i, ++j;
    } else if (left[i] < right[j]) {
      ++i;
    } else {
      ++j;
    }
  }
  return static_cast<double>(shared) / static_cast<double>(left.size() + right.size() - shared);
}

NearDuplicates::NearDuplicates(double threshold)
    : threshold_(threshold), rows_(rows_for(threshold)), table_(1U << 10) {
  CHECK(threshold >= 0.5 && threshold <= 1.0, "near-duplicate threshold within [.5, 1]");
}

NearDuplicates::BandKeys NearDuplicates::keys_of(std::string_view text) const {
  std::array<std::uint32_t, kMostHashes> least;
  least.fill(kNone);
  const std::size_t count = kBands * rows_;
  const Hashes& table = hashes();
  for_each_shingle(text, [&](std::uint64_t shingle) {
    const std::uint64_t x = mix(shingle);
    for (std::size_t i = 0; i < count; ++i) {
      const auto hash = static_cast<std::uint32_t>((x * table.multiply[i] + table.add[i]) >> 32);
      least[i] = hash < least[i] ? hash : least[i];
    }
  });
  BandKeys keys{};
  for (std::size_t band = 0; band < kBands; ++band) {
    std::uint64_t key = band + 1;
    for (std::size_t row = 0; row < rows_; ++row) key = mix(key ^ least[band * rows_ + row]) + row;
    keys[band] = static_cast<std::uint32_t>(mix(key));
  }
  return keys;
}

// The bucket of `key`, or the empty slot where it would go.
std::size_t NearDuplicates::slot_of(std::uint32_t key) const {
  const std::size_t mask = table_.size() - 1;
  std::size_t at = key & mask;
  while (table_[at].head != kNone && table_[at].key != key) at = (at + 1) & mask;
  return at;
}

std::optional<std::uint32_t> NearDuplicates::find(
    std::string_view text, const std::function<bool(std::uint32_t)>& accept) const {
  const BandKeys keys = keys_of(text);
  std::array<std::uint32_t, kMaxCandidates> seen{};
  std::size_t compared = 0;
  for (std::size_t band = 0; band < kBands; ++band) {
    std::uint32_t candidate = table_[slot_of(keys[band])].head;
    for (; candidate != kNone; candidate = chain_[candidate * kBands + band]) {
      const auto end = seen.begin() + static_cast<std::ptrdiff_t>(compared);
      if (std::find(seen.begin(), end, candidate) != end) continue;
      if (compared == kMaxCandidates) return std::nullopt;
      seen[compared++] = candidate;
      if (accept && !accept(candidate)) continue;
      if (shingle_jaccard(texts_[candidate], text) >= threshold_) return candidate;
    }
  }
  return std::nullopt;
}

std::uint32_t NearDuplicates::add(std::string_view text) {
  if ((used_ + kBands) * 10 > table_.size() * 7) grow();
  const auto index = static_cast<std::uint32_t>(texts_.size());
  const BandKeys keys = keys_of(text);
  texts_.push_back(text);
  for (std::size_t band = 0; band < kBands; ++band) {
    Slot& slot = table_[slot_of(keys[band])];
    if (slot.head == kNone) ++used_;
    chain_.push_back(slot.head);
    slot = {keys[band], index};
  }
  return index;
}

void NearDuplicates::grow() {
  std::vector<Slot> old(table_.size() * 2);
  old.swap(table_);
  for (const Slot& slot : old) {
    if (slot.head != kNone) table_[slot_of(slot.key)] = slot;
  }
}

}  // namespace trimtab::retrain
