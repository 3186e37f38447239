#include "daemon/dedupe_window.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/hash.h"

namespace trimtab::daemon {

DedupeWindow::DedupeWindow(std::size_t capacity) : ring_(capacity == 0 ? 1 : capacity) {
  // At most half full: ring plus a batch's staged ids, which sit in the table as well.
  table_.assign(std::bit_ceil(ring_.size() * 2 + 16), 0);
  mask_ = table_.size() - 1;
}

std::uint64_t DedupeWindow::key(std::string_view target, std::string_view id) {
  const std::uint64_t hash = stable_hash(id, stable_hash(target));
  return hash == 0 ? 1 : hash;  // 0 marks a free slot
}

bool DedupeWindow::contains(std::uint64_t key) const {
  for (std::size_t at = home(key);; at = (at + 1) & mask_) {
    if (table_[at] == key) return true;
    if (table_[at] == 0) return false;
  }
}

bool DedupeWindow::stage(std::uint64_t key) {
  if (contains(key)) return false;
  CHECK(staged_.size() < table_.size() - ring_.size() - 1, "a batch larger than the table's slack");
  insert(key);
  staged_.push_back(key);
  return true;
}

void DedupeWindow::commit() {
  for (const std::uint64_t key : staged_) push(key);
  staged_.clear();
}

void DedupeWindow::rollback() {
  for (const std::uint64_t key : staged_) erase(key);
  staged_.clear();
}

void DedupeWindow::load(std::string_view batch) {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= batch.size();
       at += sizeof(std::uint64_t)) {
    std::uint64_t key = 0;
    std::memcpy(&key, batch.data() + at, sizeof(key));
    if (key == 0 || contains(key)) continue;
    insert(key);
    push(key);
  }
}

// The key is in the table already: gives it its place in the ring, the oldest falls out.
void DedupeWindow::push(std::uint64_t key) {
  if (size_ == ring_.size()) {
    erase(ring_[head_]);
  } else {
    ++size_;
  }
  ring_[head_] = key;
  head_ = (head_ + 1) % ring_.size();
}

void DedupeWindow::insert(std::uint64_t key) {
  std::size_t at = home(key);
  while (table_[at] != 0) at = (at + 1) & mask_;
  table_[at] = key;
}

// Deletion for linear probing without tombstones: later entries of the run move up.
void DedupeWindow::erase(std::uint64_t key) {
  std::size_t hole = home(key);
  while (table_[hole] != key) {
    if (table_[hole] == 0) return;
    hole = (hole + 1) & mask_;
  }
  std::size_t at = hole;
  for (;;) {
    table_[hole] = 0;
    for (;;) {
      at = (at + 1) & mask_;
      if (table_[at] == 0) return;
      const std::size_t distance_home = (at - home(table_[at])) & mask_;
      const std::size_t distance_hole = (at - hole) & mask_;
      if (distance_home >= distance_hole) break;
    }
    table_[hole] = table_[at];
    hole = at;
  }
}

}  // namespace trimtab::daemon
